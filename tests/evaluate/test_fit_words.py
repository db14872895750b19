"""Fits find what made-up words were made with."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import DataError
from leanformer.evaluate.corpus import Clip
from leanformer.evaluate.fit_confidence import fit_confidence
from leanformer.evaluate.fit_times import Placed, fit_times
from leanformer.evaluate.fit_words import Checked, fit_word_times
from leanformer.evaluate.reliability import Reliability
from leanformer.runtime.confidence import Calibration, evidence
from leanformer.runtime.word_times import WordTimes
from leanformer.runtime.words import Spoken

FRAME = 0.04


@pytest.mark.parametrize(
    "true", [Calibration(1.0, 1.0, 0.0), Calibration(0.4, 0.9, -0.5), Calibration(0.2, 0.7, 0.6)]
)
def test_a_map_is_found_again(true: Calibration) -> None:
    random = np.random.default_rng(1)
    p = [evidence([math.log(one)]) for one in random.beta(0.7, 0.5, 20_000).clip(1e-9, 1)]
    right = (random.random(len(p)) < [true(one) for one in p]).tolist()
    found = fit_confidence(p, right)
    assert [found(one) for one in (0.02, 0.3, 0.7, 0.99)] == pytest.approx(
        [true(one) for one in (0.02, 0.3, 0.7, 0.99)], abs=0.03
    )
    assert (Reliability.of_words([found(one) for one in p], right).ece or 0) < 0.015


@given(
    st.lists(st.tuples(st.floats(1e-4, 1 - 1e-4), st.booleans()), min_size=1, max_size=40),
)
@settings(max_examples=60)
def test_any_words_give_a_map_that_does_not_fall(words: list[tuple[float, bool]]) -> None:
    found = fit_confidence(*zip(*words, strict=True))
    values = [found(one) for one in (1e-4, 0.1, 0.5, 0.9, 1 - 1e-4)]
    assert values == sorted(values)
    assert all(0 <= one <= 1 for one in values)


def test_confidence_that_is_upside_down_becomes_one_number() -> None:
    p = np.linspace(0.05, 0.95, 400)
    found = fit_confidence(p.tolist(), (p < 0.5).tolist())
    assert (found.a, found.b) == (0.0, 0.0)
    assert found(0.3) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("true", [WordTimes(0.45, 45.0, 130.0), WordTimes(0.3, 20.0, 60.0), WordTimes()])
def test_times_are_found_again(true: WordTimes) -> None:
    random = np.random.default_rng(2)
    words, frame, before = [], 10, None
    for gap in random.integers(1, 40, 2000):
        first = frame + int(gap)
        last, letters = first + int(random.integers(0, 5)), int(random.integers(1, 7))
        after = last + int(random.integers(1, 40))
        words.append(
            Placed(
                first,
                last,
                letters,
                before,
                after,
                true.start(first, letters, before, FRAME) + float(random.normal(0, 0.01)),
                true.end(last, after, FRAME) + float(random.normal(0, 0.01)),
            )
        )
        frame, before = last, last
    found = fit_times(words, FRAME)
    assert found.share == pytest.approx(true.share, abs=0.051)
    assert found.lead_ms_per_letter == pytest.approx(true.lead_ms_per_letter, abs=2.6)
    assert found.lag_ms == pytest.approx(true.lag_ms, abs=10.1)


def test_a_word_without_neighbours_may_be_fitted() -> None:
    found = fit_times([Placed(20, 20, 3, None, None, 0.65, 0.94)], FRAME)
    assert found.start(20, 3, None, FRAME) == pytest.approx(0.65, abs=0.01)
    assert found.end(20, None, FRAME) == pytest.approx(0.94, abs=0.01)


def test_times_are_fitted_to_right_words_between_their_neighbours() -> None:
    true, frames = WordTimes(0.4, 60.0, 150.0), np.cumsum(np.random.default_rng(3).integers(2, 14, 301))
    words = [Spoken("w", int(frame), int(frame), 4, 0.5) for frame in frames]
    spans = [
        (
            true.start(word.first, 4, words[number - 1].last if number else None, FRAME),
            true.end(word.last, words[number + 1].first if number < 300 else None, FRAME),
        )
        for number, word in enumerate(words)
    ]
    clip = Clip("c", Utterance("a", Path("a.wav"), "w " * 301))
    # The even words are right, each the word of the transcript at the same place from the end.
    checked = Checked(clip, tuple(words), {number: 300 - number for number in range(0, 301, 2)})
    found, count = fit_word_times([checked], {clip.name: tuple(reversed(spans))}, FRAME)
    assert count == 151
    assert found.share == pytest.approx(true.share, abs=0.051)
    assert found.lead_ms_per_letter == pytest.approx(true.lead_ms_per_letter, abs=2.6)
    assert found.lag_ms == pytest.approx(true.lag_ms, abs=10.1)
    with pytest.raises(DataError, match="0 words were heard right and are in the alignment"):
        fit_word_times([checked], {}, FRAME)
