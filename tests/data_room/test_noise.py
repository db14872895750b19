from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from leanformer.data.noise import NoiseConfig, disturb

NOTHING = NoiseConfig(noise=0.0, babble=0.0, gain_db=(0.0, 0.0), reverb=0.0)
Tone = Callable[..., np.ndarray]


def others(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(-9000, 9000, 8000).astype(np.int16)


def run(speech: np.ndarray, config: NoiseConfig, seed: int = 0) -> np.ndarray:
    return disturb(speech, config, np.random.default_rng(seed), others, 20)


def decibels(ratio: float) -> float:
    return 10.0 * float(np.log10(ratio))


def test_nothing_asked_nothing_done(tone: Tone) -> None:
    np.testing.assert_array_equal(run(tone(1.0), NOTHING), tone(1.0))


@pytest.mark.parametrize("change", [{"noise": 1.0}, {"babble": 1.0}])
@pytest.mark.parametrize("snr", [-3.0, 10.0])
def test_noise_and_babble_have_the_ratio_asked_for(tone: Tone, change: dict[str, float], snr: float) -> None:
    speech = tone(2.0) * np.float32(0.1)
    for seed in range(8):  # all colours of noise
        noise = run(speech, replace(NOTHING, snr_db=(snr, snr), **change), seed) - speech
        assert decibels(np.mean(speech**2) / np.mean(noise**2)) == pytest.approx(snr, abs=0.1)


def test_gain_stays_below_full_scale(tone: Tone) -> None:
    quiet, loud = (run(tone(1.0), replace(NOTHING, gain_db=(db, db))) for db in (-6.0, 20.0))
    np.testing.assert_allclose(quiet, tone(1.0) * 10 ** (-6 / 20), rtol=1e-5)
    assert np.abs(loud).max() == pytest.approx(1.0, abs=1e-6)


def test_reverberation_keeps_length_and_start_and_adds_a_tail() -> None:
    speech = np.zeros(16_000, np.float32)
    speech[4000:5000] = 0.3
    wet = run(speech, replace(NOTHING, reverb=1.0))
    assert wet.shape == speech.shape
    assert np.abs(wet[:4000]).max() < 1e-5
    assert np.abs(wet[5000:6000]).max() > 1e-3
    assert np.abs(wet[5000:6000]).mean() > 3 * np.abs(wet[12_000:]).mean()


def test_the_seed_decides_all(tone: Tone) -> None:
    speech = tone(1.0)
    results = [run(speech, NoiseConfig(), seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    np.testing.assert_array_equal(speech, tone(1.0))  # its input is left alone


def test_probabilities_hold(tone: Tone) -> None:
    speech = tone(0.1)
    config = replace(NOTHING, noise=0.3, babble=0.5)
    touched = np.mean([not np.array_equal(run(speech, config, seed), speech) for seed in range(400)])
    assert touched == pytest.approx(0.3 + 0.7 * 0.5, abs=0.07)


@pytest.mark.parametrize("change", [{"noise": 1.0}, {"babble": 1.0}, {"reverb": 1.0}])
def test_silence_and_tiny_clips_are_harmless(change: dict[str, float]) -> None:
    for samples in (1, 7, 4000):
        result = run(np.zeros(samples, np.float32), replace(NOTHING, **change))
        assert result.shape == (samples,)
        assert np.isfinite(result).all()
