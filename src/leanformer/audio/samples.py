"""Samples in whatever form they come: checked, made float32 mono, and resampled piece by piece."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from leanformer.errors import AudioError

LOWEST_RATE = 1_000
HIGHEST_RATE = 768_000
# libsndfile's own limit. More "channels" than this is an array whose axes are swapped.
MOST_CHANNELS = 1_024
# Decoders and mixers overshoot 1.0 a little; a float this large is a 16-bit integer that was never scaled.
LARGEST_FLOAT = 32.0


def check_rate(rate: float, name: str) -> None:
    """Raise AudioError unless `rate` is between 1 and 768 kHz; `name` says whose rate it is."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(
            f"{name}: a sample rate of {rate:g} Hz is impossible, expected {LOWEST_RATE} to {HIGHEST_RATE}; "
            "correct the rate or convert the audio again"
        )


def as_float_mono(samples: NDArray[np.generic], name: str) -> NDArray[np.float32]:
    """Float32 mono samples (S,) in [-1, 1], by the mean of the channels.

    Args:
        samples: (S,) or (S, C), floats in [-1, 1] or int16; S may be 0.
        name: what the samples are, for the error message.

    Returns:
        (S,) float32, which may share memory with `samples`.

    Raises AudioError for other types or shapes, floats far outside [-1, 1], and NaN or infinite samples.
    """
    samples = np.asarray(samples)
    is_float = np.issubdtype(samples.dtype, np.floating)
    if not is_float and samples.dtype.newbyteorder("=") != np.int16:
        raise AudioError(
            f"{name}: samples of type {samples.dtype} cannot be used; give floats in [-1, 1] or int16"
        )
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= MOST_CHANNELS):
        raise AudioError(
            f"{name}: expected samples of shape (samples,) or (samples, channels), not {samples.shape}; "
            "transpose or reshape them"
        )
    # Overflow to infinity is caught below, with the message that names it.
    with np.errstate(over="ignore", invalid="ignore"):
        mono = samples.astype(np.float32, copy=False)
        if mono.ndim == 2:
            mono = mono[:, 0] if mono.shape[1] == 1 else mono.mean(axis=1, dtype=np.float32)
    if not is_float:
        return mono * np.float32(1 / 32_768)
    _check_values(mono, name)
    return mono


def _check_values(mono: NDArray[np.float32], name: str) -> None:
    # One pass in the good case: NaN and infinity both fail the comparison.
    if mono.size == 0 or np.abs(mono).max() <= LARGEST_FLOAT:
        return
    bad = ~np.isfinite(mono)
    if bad.any():
        raise AudioError(
            f"{name}: {int(bad.sum())} of {len(mono)} samples are NaN or infinite, the first is number "
            f"{int(bad.argmax())}; repair or convert the audio"
        )
    raise AudioError(
        f"{name}: floats must lie in [-1, 1] but reach {np.abs(mono).max():g}; "
        "divide 16-bit values by 32768, or give them as int16"
    )


class StreamResampler:
    """Changes the rate of a mono stream; any split of the samples gives the same output, bit by bit.

    The filter (soxr, high quality) looks ahead, so the output lags behind by some 40 ms at 44.1 or 48 kHz
    and 100 ms at 8 kHz until `last` flushes it. Equal rates pass through untouched and at once.

    Raises AudioError for an impossible rate.
    """

    def __init__(self, rate_in: float, rate_out: float) -> None:
        check_rate(rate_in, "input")
        check_rate(rate_out, "output")
        self._stream = None if rate_in == rate_out else soxr.ResampleStream(rate_in, rate_out, 1)
        self._ended = False

    def push(self, samples: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """Add samples (S,) float32 and take what is ready, (S',); `last` ends the stream and flushes it.

        Raises AudioError once the stream has ended.
        """
        if self._ended:
            raise AudioError("this resampler has ended: begin a new StreamResampler for more samples")
        self._ended = last
        if self._stream is None:
            return samples
        # soxr reads the array's memory as it lies.
        resampled: NDArray[np.float32] = self._stream.resample_chunk(np.ascontiguousarray(samples), last=last)
        return resampled
