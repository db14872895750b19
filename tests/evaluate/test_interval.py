"""The bootstrap: against a closed form, a plain loop's definition, and what clustering must do."""

from __future__ import annotations

import numpy as np
import pytest

from leanformer.evaluate.interval import FEWEST_SPEAKERS, bootstrap_interval, resampling_units


def test_agrees_with_the_normal_approximation() -> None:
    # Equal lengths make the ratio a mean, whose standard error is known.
    errors = np.random.default_rng(3).binomial(20, 0.3, 400)
    interval = bootstrap_interval(errors, np.full(400, 20), np.arange(400))
    assert interval is not None
    rates = errors / 20
    half = 1.96 * rates.std() / np.sqrt(400)
    assert interval == pytest.approx((rates.mean() - half, rates.mean() + half), abs=0.002)


def test_it_is_a_ratio_of_sums() -> None:
    # The mean of the ratios would be 0.5 in the middle; a long utterance weighs more.
    interval = bootstrap_interval([1, 0] * 200, [1, 99] * 200, np.arange(400))
    assert interval is not None
    assert 0.008 < interval[0] < 0.01 < interval[1] < 0.0125


def test_errors_and_words_are_drawn_together() -> None:
    words = np.arange(2, 40, 2)
    assert bootstrap_interval(words // 2, words, np.arange(len(words))) == (0.5, 0.5)


def test_the_seed_decides() -> None:
    errors, words, units = [3, 1, 4, 1, 5, 9], [10] * 6, range(6)
    first = bootstrap_interval(errors, words, units, resamples=200)
    assert first == bootstrap_interval(errors, words, units, resamples=200)
    assert first != bootstrap_interval(errors, words, units, resamples=200, seed=1)


def test_blocks_do_not_change_the_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, words, units = [3, 1, 4, 1, 5, 9], [10] * 6, range(6)
    whole = bootstrap_interval(errors, words, units)
    monkeypatch.setattr("leanformer.evaluate.interval._BLOCK_CELLS", 6 * 999)
    in_blocks = bootstrap_interval(errors, words, units)
    assert in_blocks == pytest.approx(whole, abs=0.03)


def test_confidence() -> None:
    errors = np.random.default_rng(5).binomial(10, 0.4, 100)
    narrow = bootstrap_interval(errors, np.full(100, 10), np.arange(100), confidence=0.5)
    wide = bootstrap_interval(errors, np.full(100, 10), np.arange(100), confidence=0.99)
    assert narrow is not None
    assert wide is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_speakers_that_differ_widen_the_interval() -> None:
    speakers = [str(place // 50) for place in range(500)]
    errors = [place // 50 for place in range(500)]  # each speaker has a rate of their own
    units, by_speaker = resampling_units(speakers)
    clustered = bootstrap_interval(errors, [10] * 500, units)
    apart = bootstrap_interval(errors, [10] * 500, range(500))
    assert by_speaker
    assert clustered is not None
    assert apart is not None
    assert clustered[1] - clustered[0] > 4 * (apart[1] - apart[0])


def test_units() -> None:
    known = ["a", "b", "c", "d", "e"]
    assert len(known) == FEWEST_SPEAKERS
    units, by_speaker = resampling_units([*known, "a", "", "", "b"])
    assert by_speaker
    assert units.tolist() == [0, 1, 2, 3, 4, 0, 5, 6, 1]  # unknown speakers are not one person
    units, by_speaker = resampling_units([*known[:4], "a", ""])
    assert not by_speaker
    assert units.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("errors", "words"), [([], []), ([1], [3]), ([1, 2], [3, 0])])
def test_too_little_to_tell(errors: list[int], words: list[int]) -> None:
    assert bootstrap_interval(errors, words, range(len(errors))) is None


def test_wordless_units_do_no_harm() -> None:
    interval = bootstrap_interval([1, 1, 1], [4, 4, 0], range(3))
    assert interval is not None
    assert np.isfinite(interval).all()
