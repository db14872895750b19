"""Noise, babble, gain and a little room on training waveforms, seeded by (seed, epoch, utterance).

Generated noise comes from a bank made once, since colouring noise anew for every utterance would cost more
than reading the utterance. Babble is the sum of other training utterances. The signal-to-noise ratio is of
mean powers over the utterance. Reverberation convolves with exponentially decaying noise behind a direct
path, the simplest statistical model of a room (Polack 1988).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from leanformer.config_types import FloatRange, IntRange, Positive, Share

SAMPLE_RATE = 16000
_BANK_SAMPLES = 1 << 19  # 33 s of each colour
Samples = NDArray[np.float32]


@dataclass(frozen=True)
class NoiseConfig:
    """How training waveforms are disturbed; probabilities are per utterance.

    Attributes:
        noise: probability of generated noise (white, pink, brown, or mains hum).
        babble: probability of babble, of what is left after `noise`.
        snr_db: range of the signal-to-noise ratio.
        talkers: range of the number of utterances summed to babble.
        gain_db: range of the gain, applied always.
        reverb: probability of reverberation.
        decay_seconds: range of the time in which reverberation falls by 60 dB.
        direct_db: range of the direct sound's power over the reverberation's.
    """

    noise: Share = 0.25
    babble: Share = 0.15
    snr_db: FloatRange = (5.0, 25.0)
    talkers: IntRange = (3, 6)
    gain_db: FloatRange = (-9.0, 3.0)
    reverb: Share = 0.1
    decay_seconds: tuple[Positive, Positive] = (0.1, 0.5)
    direct_db: FloatRange = (0.0, 12.0)


def disturb(
    speech: Samples,
    config: NoiseConfig,
    rng: np.random.Generator,
    others: Callable[[int], NDArray[np.int16]],
    count: int,
) -> Samples:
    """Return `speech` (S,), in [-1, 1], disturbed as the config says; its length stays.

    `others(i)` gives the samples of training utterance i of `count`, for babble. All randomness is from
    `rng`.
    """
    if rng.random() < config.reverb:
        speech = _reverberate(speech, config, rng)
    kind = rng.random()
    if kind < config.noise:
        speech = _mix(speech, _generated(len(speech), rng), rng.uniform(*config.snr_db))
    elif kind < config.noise + (1.0 - config.noise) * config.babble:
        talkers = int(rng.integers(config.talkers[0], config.talkers[1] + 1))
        noise = np.zeros(len(speech), np.float32)
        for talker in rng.integers(0, count, talkers):
            noise += _cut(others(int(talker)), len(speech), rng)
        speech = _mix(speech, noise, rng.uniform(*config.snr_db))
    gain = 10.0 ** (rng.uniform(*config.gain_db) / 20.0)
    peak = float(np.abs(speech).max(initial=0.0))
    return speech * np.float32(min(gain, 1.0 / peak if peak else gain))


def _mix(speech: Samples, noise: Samples, snr_db: float) -> Samples:
    power, noise_power = _power(speech), _power(noise)
    if not power or not noise_power:
        return speech
    return speech + noise * np.float32(math.sqrt(power / noise_power) * 10.0 ** (-snr_db / 20.0))


def _power(samples: Samples) -> float:
    return float(samples @ samples) / max(1, len(samples))


def _generated(length: int, rng: np.random.Generator) -> Samples:
    bank = _noise_bank()
    return _cut(bank[int(rng.integers(len(bank)))], length, rng)


def _cut(source: NDArray[np.int16] | Samples, length: int, rng: np.random.Generator) -> Samples:
    """Return `length` samples of `source` from a random place on, going round at its end."""
    start = int(rng.integers(max(1, len(source))))
    piece = np.empty(length, np.float32)
    filled = 0
    while filled < length:
        part = source[start : start + length - filled]
        piece[filled : filled + len(part)] = part
        filled += len(part)
        start = 0
        if not len(source):
            return np.zeros(length, np.float32)
    return piece


def _reverberate(speech: Samples, config: NoiseConfig, rng: np.random.Generator) -> Samples:
    decay = rng.uniform(*config.decay_seconds)
    tail = rng.standard_normal(int(decay * SAMPLE_RATE), np.float32)
    tail *= np.exp(np.arange(len(tail), dtype=np.float32) * np.float32(-6.9078 / (decay * SAMPLE_RATE)))
    tail[0] = 0.0
    tail *= np.float32(
        10.0 ** (-rng.uniform(*config.direct_db) / 20.0) / math.sqrt(float(tail @ tail) or 1.0)
    )
    tail[0] = 1.0
    size = _fast_size(len(speech) + len(tail))
    wet = np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(tail, size), size)
    return np.asarray(wet[: len(speech)], np.float32)


def _fast_size(least: int) -> int:
    """Return the smallest 2^a or 3 * 2^a that is not below `least`: an FFT of a large prime would be slow."""
    power = 1 << max(1, (least - 1).bit_length())
    return power * 3 // 4 if power * 3 // 4 >= least else power


@lru_cache(maxsize=1)
def _noise_bank() -> tuple[Samples, ...]:
    """Return white, pink and brown noise, and hum of 50 and 60 Hz, each (33 s,); always the same."""
    rng = np.random.default_rng(0)
    frequency = np.fft.rfftfreq(_BANK_SAMPLES, 1.0 / SAMPLE_RATE)
    bank = []
    for slope in (0.0, 0.5, 1.0):
        spectrum = np.fft.rfft(rng.standard_normal(_BANK_SAMPLES)) / np.maximum(frequency, 20.0) ** slope
        bank.append(np.fft.irfft(spectrum, _BANK_SAMPLES))
    time = np.arange(_BANK_SAMPLES) / SAMPLE_RATE
    for mains in (50.0, 60.0):
        partials = (np.sin(2 * np.pi * mains * k * time + k) / k for k in range(1, 9))
        bank.append(sum(partials) + 0.02 * rng.standard_normal(_BANK_SAMPLES))
    return tuple(np.asarray(noise / noise.std(), np.float32) for noise in bank)
