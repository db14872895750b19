"""Real graphs with many streams as rows: in float32 each row is what it is alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from leanformer.audio.load import load_audio
from leanformer.evaluate.posteriors import _Recorder
from leanformer.runtime import steps
from leanformer.runtime.batch import Batch
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.stream import Stream

from .conftest import DATA

RATE = 16_000


@pytest.fixture(scope="module")
def recognizer(bundle: Path) -> Recognizer:
    return Recognizer.load(bundle, precision="fp32")


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    return [
        load_audio(path)[: 3 * RATE + 1_717 * turn]
        for turn, path in enumerate(sorted(DATA.glob("*.opus"))[:4])
    ]


def listening(recognizer: Recognizer, batch: Batch | None) -> tuple[Stream, _Recorder]:
    recorder = _Recorder()
    return recognizer.with_search(recorder).stream(batch=batch), recorder


def heard(recorder: _Recorder) -> np.ndarray:
    """(T, V) log-probabilities of a stream."""
    return np.concatenate([some for some in recorder.heard if some][-1])


def alone(recognizer: Recognizer, clips: list[np.ndarray]) -> Iterator[np.ndarray]:
    for clip in clips:
        stream, recorder = listening(recognizer, None)
        stream.accept_waveform(clip, RATE)
        stream.finish()
        yield heard(recorder)


def together(recognizer: Recognizer, clips: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Each joins a step after the one before it, in pieces that fill its chunks at other times."""
    batch = Batch()
    opened: list[tuple[Stream, _Recorder]] = []
    for turn, clip in enumerate(clips):
        opened.append(listening(recognizer, batch))
        for start in range(0, len(clip), 5_000 + 700 * turn):
            opened[-1][0].accept_waveform(clip[start : start + 5_000 + 700 * turn], RATE)
        batch.step()
    for stream, recorder in opened:
        stream.finish()
        yield heard(recorder)


def test_log_probs_are_those_of_each_stream_alone(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    pairs = list(zip(alone(recognizer, clips), together(recognizer, clips), strict=True))
    assert len(pairs) == 4
    for expected, found in pairs:
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_states_in_another_order_are_seen(
    recognizer: Recognizer, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, unstack = list(alone(recognizer, clips)), steps.unstack
    monkeypatch.setattr(steps, "unstack", lambda state: unstack(state)[::-1])
    differences = [
        np.abs(np.exp(one) - np.exp(other)).max()
        for one, other in zip(expected, together(recognizer, clips), strict=True)
    ]
    assert max(differences) > 0.05
