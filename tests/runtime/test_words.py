"""Words, their times and their confidence, from tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanformer.runtime.confidence import Calibration, evidence
from leanformer.runtime.transcript import Word
from leanformer.runtime.word_times import FRAMES, WordTimes
from leanformer.runtime.words import Token, WordMaker

FRAME = 0.04
PIECES = ["<blank>", "▁", "▁the", "▁cat", "s", "a", "▁a"]
WORD_STARTS = {1, 2, 3, 6}
THE, CAT, S, LETTER_A = 2, 3, 4, 5


class Spelling:
    """A tokenizer of six pieces."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(PIECES[one] for one in ids).replace("▁", " ").strip(" ")

    def starts_word(self, token: int) -> bool:
        return token in WORD_STARTS


def words(*tokens: tuple[int, int], times: WordTimes = FRAMES, last_second: float = math.inf) -> list[Word]:
    maker = WordMaker(Spelling(), FRAME, times)
    return maker.words(maker.spoken([Token(*token) for token in tokens]), last_second=last_second)


def spans(*tokens: tuple[int, int], times: WordTimes = FRAMES) -> list[tuple[str, float, float]]:
    return [(word.word, word.start, word.end) for word in words(*tokens, times=times)]


def test_words_of_one_frame_share_it_and_none_overlap() -> None:
    for times in (WordTimes(), WordTimes(0.2, 200.0, 200.0)):
        found = words((THE, 5), (THE, 5), (THE, 6), times=times)
        assert len(found) == 3
        for word, after in pairwise(found):
            assert word.start < word.end <= after.start
    found = words((THE, 5), (THE, 5), (THE, 6))
    assert found[0].start == pytest.approx(5 * FRAME)
    assert found[-1].end == pytest.approx(7 * FRAME)


def test_pieces_join_to_words_with_times() -> None:
    assert spans((THE, 5), (CAT, 10), (S, 12)) == [("the", 0.2, 0.24), ("cats", 0.4, 0.52)]


def test_a_lone_boundary_has_no_time_and_makes_no_word() -> None:
    # Some models emit the boundary right after the last word, long before the next one is spoken.
    found = spans((THE, 5), (1, 6), (LETTER_A, 20), (S, 21), (1, 30))
    assert found == [("the", 0.2, 0.24), ("as", 0.8, 0.88)]


def test_a_first_piece_without_boundary_is_a_word() -> None:
    assert [word.word for word in words((S, 1), (LETTER_A, 2), (THE, 3))] == ["sa", "the"]


def test_no_word_outlasts_the_audio() -> None:
    (last,) = words((THE, 5), last_second=0.22)
    assert (last.start, last.end) == (0.2, 0.22)


def test_a_word_begins_before_its_first_token_the_more_letters_the_earlier() -> None:
    found = spans((LETTER_A, 25), (THE, 50), (CAT, 51), times=WordTimes(0.5, 50.0, 100.0))
    assert found == [("a", 0.95, 1.14), ("the", 1.85, 2.02), ("cat", 2.02, 2.18)]


def test_the_first_word_does_not_begin_before_the_audio() -> None:
    assert words((THE, 1), times=WordTimes(0.5, 50.0, 0.0))[0].start == 0.0


def test_a_long_gap_belongs_to_no_word_and_a_short_one_to_both() -> None:
    times = WordTimes(0.25, 40.0, 80.0)
    (_, _, first_end), (_, second_start, _) = spans((THE, 0), (CAT, 100), times=times)
    assert (first_end, second_start) == (0.12, pytest.approx(4.0 - 3 * 0.04))
    (_, _, first_end), (_, second_start, _) = spans((THE, 0), (CAT, 4), times=times)
    assert first_end == second_start == pytest.approx(0.25 * 4 * FRAME)


def test_confidence_is_the_product_of_the_tokens_that_spell_the_word() -> None:
    boundary, cat, s = (math.log(p) for p in (0.001, 0.8, 0.5))
    maker = WordMaker(Spelling(), FRAME)
    (word,) = maker.words(maker.spoken([Token(CAT, 5, cat), Token(S, 6, s)]))
    assert word.confidence == pytest.approx(0.4)
    (word,) = maker.words(maker.spoken([Token(1, 3, boundary), Token(LETTER_A, 5, cat), Token(S, 6, s)]))
    assert word.confidence == pytest.approx(0.4)
    (word,) = WordMaker(Spelling(), FRAME, confidence=Calibration(0.0, 0.0, 0.0)).words(
        maker.spoken([Token(CAT, 5, cat)])
    )
    assert word.confidence == 0.5


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(0, 5), st.floats(0, 5), st.floats(-9, 9))
def test_confidence_never_falls_with_evidence(values: list[float], a: float, b: float, c: float) -> None:
    calibrate = Calibration(a, b, c)
    sure = [calibrate(evidence([math.log(p) if p else -math.inf])) for p in sorted(values)]
    assert all(0 <= one <= 1 for one in sure)
    assert all(one <= other + 1e-12 for one, other in pairwise(sure))


@given(st.floats(0.001, 0.999))
def test_without_a_fit_confidence_is_the_probability(p: float) -> None:
    assert Calibration()(evidence([math.log(p)])) == pytest.approx(p)


@pytest.mark.parametrize(
    "values", [(-1.0, 1.0, 0.0), (1.0, -0.1, 0.0), (1.0, math.nan, 0.0), (1.0, 1.0, math.inf)]
)
def test_a_map_that_is_none(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected numbers"):
        Calibration(*values)


@pytest.mark.parametrize(
    ("values", "named"),
    [((0.1,), "share = 0.1"), ((1.0, -1.0), "lead_ms_per_letter"), ((1.0, 0.0, math.nan), "lag_ms")],
)
def test_times_that_are_none(values: tuple[float, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        WordTimes(*values)
