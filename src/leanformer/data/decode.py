"""One recording to int16 at 16 kHz, at one or more speeds.

Speed perturbation is resampling, as Kaldi's `sox speed` does it: tempo and pitch change together (Ko et al.
2015, "Audio augmentation for speech recognition"). Speed 1.1 makes a recording shorter and higher.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

SAMPLE_RATE = 16000
_FULL_SCALE = 32767.0


@dataclass(frozen=True)
class Source:
    """A piece of a sound file: from `start` seconds on, for `duration` seconds (None: to its end)."""

    path: str
    start: float = 0.0
    duration: float | None = None
    channel: int | None = None


def decode(source: Source, speeds: Sequence[float] = (1.0,)) -> list[NDArray[np.int16]]:
    """Return the recording as int16 (S,), once for each speed.

    Raises OSError or soundfile.LibsndfileError if the file cannot be read, ValueError if it holds no samples
    or samples that are not finite.
    """
    with soundfile.SoundFile(source.path) as file:
        rate = file.samplerate
        if source.start:
            file.seek(round(source.start * rate))
        frames = -1 if source.duration is None else round(source.duration * rate)
        samples = file.read(frames, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1) if source.channel is None else samples[:, source.channel]
    if not mono.size or not np.isfinite(mono).all():
        raise ValueError("no samples" if not mono.size else "samples that are not finite")
    return [_to_int16(_at_speed(mono, rate, speed)) for speed in speeds]


def try_decode(source: Source, speeds: Sequence[float] = (1.0,)) -> list[NDArray[np.int16]] | str:
    """Return what `decode` does, or the reason why it cannot: one bad file must not end a long run."""
    try:
        return decode(source, speeds)
    except (OSError, ValueError, soundfile.LibsndfileError) as error:
        return f"{source.path}: {error}"


def _at_speed(mono: NDArray[np.float32], rate: int, speed: float) -> NDArray[np.float32]:
    if speed == 1.0 and rate == SAMPLE_RATE:
        return mono
    # Read as if recorded at rate * speed: both are integers times a thousandth, so soxr gets a clean ratio.
    return np.asarray(
        soxr.resample(mono, round(rate * speed * 1000), SAMPLE_RATE * 1000, quality="MQ"), np.float32
    )


def _to_int16(mono: NDArray[np.float32]) -> NDArray[np.int16]:
    scaled = np.rint(mono * _FULL_SCALE)
    return np.asarray(np.clip(scaled, -_FULL_SCALE, _FULL_SCALE), np.int16)
