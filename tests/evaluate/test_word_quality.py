"""Which words are right, how far off their times are, and whether their confidence can be believed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import ConfigError, MissingExtraError
from leanformer.evaluate.corpus import Clip
from leanformer.evaluate.evaluate import Scored
from leanformer.evaluate.judge import judge
from leanformer.evaluate.reliability import Reliability
from leanformer.evaluate.reliability_plot import plot
from leanformer.evaluate.time_errors import Spread, TimeErrors
from leanformer.evaluate.wer import count_errors
from leanformer.runtime.transcript import Word


def scored(name: str, said: str, *words: Word) -> Scored:
    heard = " ".join(word.word for word in words)
    (errors,) = count_errors([said], [heard])
    return Scored(Clip("c", Utterance(name, Path("x.wav"), said)), heard, errors, 1.0, 1.0, words)


A = scored(
    "a", "one two three", Word("one", 0.5, 0.6, 0.9), Word("too", 1.0, 1.1, 0.2), Word("three", 2.0, 2.4, 0.7)
)
B = scored("b", "four", Word("four", 0.0, 0.3, 0.8))


def test_words_are_judged_by_their_places() -> None:
    judged = judge("one two three", A.words)
    assert [one.place for one in judged] == [0, None, 2]
    assert [one.heard.word for one in judged] == ["one", "too", "three"]
    assert judge("one", []) == []


def test_what_is_written_otherwise_is_as_right_as_it_sounds() -> None:
    judged = judge("the mother in law", [Word("The", 0, 1, 0.9), Word("mother-in-law,", 1, 2, 0.9)])
    assert [one.place for one in judged] == [0, 1, 2, 3]


def test_errors_of_times() -> None:
    found = TimeErrors.of([A, B], {"c/a": ((0.4, 0.7), (1.0, 1.2), (2.05, 2.4))})
    assert (found.words, found.skipped) == (2, 1)
    assert found.start_ms == Spread(pytest.approx(25.0), pytest.approx(75.0), pytest.approx(97.5))
    assert found.end_ms == Spread(pytest.approx(-50.0), pytest.approx(50.0), pytest.approx(95.0))
    assert TimeErrors.of([B], {}).start_ms == Spread(None, None, None)


def test_calibration_error_of_a_few_words() -> None:
    found = Reliability.of([A, B])
    assert (found.words, found.right) == (4, 0.75)
    # Each is alone in its bin: 0.1, 0.2, 0.3 and 0.2 off.
    assert found.ece == pytest.approx(0.2)
    assert [one.words for one in found.bins] == [0, 0, 1, 0, 0, 0, 0, 1, 1, 1]
    assert found.bins[7].confidence == pytest.approx(0.7)
    assert Reliability.of([]).ece is None


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_calibration_error_against_its_definition(words: list[tuple[float, bool]]) -> None:
    expected = 0.0
    for low in range(10):
        inside = [
            (sure, right) for sure, right in words if low <= sure * 10 < low + 1 or (low == 9 and sure == 1)
        ]
        if inside:
            expected += abs(sum(sure for sure, _ in inside) - sum(right for _, right in inside)) / len(words)
    found = Reliability.of_words(*zip(*words, strict=True))
    assert found.ece == pytest.approx(expected, abs=1e-9)
    assert sum(one.words for one in found.bins) == len(words)


def test_what_confidence_tells() -> None:
    right = [True] * 30 + [False] * 10
    same, truth = (
        Reliability.of_words([0.75] * 40, right),
        Reliability.of_words([float(one) for one in right], right),
    )
    assert (same.ece, same.nce) == (pytest.approx(0), pytest.approx(0))
    assert truth.nce == pytest.approx(1, abs=0.01)
    assert (Reliability.of_words([1.0 - one for one in right], right).nce or 0) < 0
    assert Reliability.of_words([0.5], [True]).nce is None


def test_a_diagram(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    random = np.random.default_rng(0)
    sure = random.random(300)
    found = Reliability.of_words(sure.tolist(), (random.random(300) < sure).tolist())
    plot({"one": found, "none": Reliability.of([])}, tmp_path / "x.svg")
    assert "<svg" in (tmp_path / "x.svg").read_text()
    with pytest.raises(ConfigError, match=r"x\.nope: cannot write the picture"):
        plot({"one": found}, tmp_path / "x.nope")


def test_a_diagram_needs_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"leanformer\[plot\]"):
        plot({}, tmp_path / "x.svg")
