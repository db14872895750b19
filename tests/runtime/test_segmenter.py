"""Words and segments from tokens and their times."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from leanformer.runtime.segmenter import LONGEST_SECONDS, Segmenter, Token, words_of
from leanformer.runtime.transcript import Segment, Word

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


def segments_of(tokens: list[tuple[int, int]]) -> list[Segment]:
    segmenter = Segmenter(Spelling(), FRAME)
    closed = [segmenter.push(Token(token, frame)) for token, frame in tokens]
    return [segment for segment in [*closed, segmenter.flush()] if segment is not None]


def words(*tokens: tuple[int, int]) -> list[Word]:
    return words_of([Token(*token) for token in tokens], Spelling(), FRAME)


def test_words_of_one_frame_share_it_and_none_overlap() -> None:
    found = words_of([Token(THE, 5), Token(THE, 5), Token(THE, 6)], Spelling(), FRAME)
    assert len(found) == 3
    assert found[0].start == pytest.approx(5 * FRAME)
    assert found[-1].end == pytest.approx(7 * FRAME)
    for word, after in pairwise(found):
        assert word.start < word.end <= after.start


def test_pieces_join_to_words_with_times() -> None:
    assert words((THE, 5), (CAT, 10), (S, 12)) == [Word("the", 0.2, 0.24), Word("cats", 0.4, 0.52)]


def test_a_lone_boundary_has_no_time_and_makes_no_word() -> None:
    # Some models emit the boundary right after the last word, long before the next one is spoken.
    assert words((THE, 5), (1, 6), (LETTER_A, 20), (S, 21), (1, 30)) == [
        Word("the", 0.2, 0.24),
        Word("as", 0.8, 0.88),
    ]


def test_a_first_piece_without_boundary_is_a_word() -> None:
    assert [word.word for word in words((S, 1), (LETTER_A, 2), (THE, 3))] == ["sa", "the"]


def test_no_word_outlasts_the_audio() -> None:
    last = words_of([Token(THE, 5)], Spelling(), FRAME, last_second=0.22)
    assert last == [Word("the", 0.2, 0.22)]


def test_a_pause_closes_a_segment() -> None:
    texts = [segment.text for segment in segments_of([(THE, 0), (CAT, 24), (THE, 49), (CAT, 50)])]
    assert texts == ["the cat", "the cat"]
    assert [segment.text for segment in segments_of([(THE, 0), (CAT, 24)])] == ["the cat"]


@pytest.mark.parametrize(("frame", "closes"), [(29, False), (30, True)])
def test_silence_closes_a_segment_before_the_next_word(frame: int, closes: bool) -> None:
    segmenter = Segmenter(Spelling(), FRAME)
    segmenter.push(Token(THE, 5))
    assert (segmenter.idle(frame) is not None) is closes
    assert (segmenter.flush() is None) is closes


def test_endless_speech_is_cut_between_words() -> None:
    tokens = [(THE if frame % 20 else CAT, frame) for frame in range(0, 2_000, 10)]
    segments = segments_of(tokens)
    assert len(segments) >= 3
    assert all(segment.end - segment.start <= LONGEST_SECONDS + 0.5 for segment in segments)
    spoken = [word for segment in segments for word in segment.words]
    assert [word.word for word in spoken] == ["cat" if token == CAT else "the" for token, _ in tokens]


def test_endless_noise_without_boundaries_is_cut_all_the_same() -> None:
    segments = segments_of([(S, frame) for frame in range(0, 4_000, 10)])
    assert len(segments) > 3
    assert sum(len(segment.text) for segment in segments) == 400


def test_text_shows_the_open_segment_and_what_is_not_settled() -> None:
    segmenter = Segmenter(Spelling(), FRAME)
    segmenter.push(Token(THE, 5))
    partial = segmenter.partial([Token(CAT, 9), Token(S, 10)])
    assert (partial, partial.stable, partial.tail) == ("the cats", "", "the cats")
    assert segmenter.partial() == "the"


def test_a_word_is_stable_once_another_follows() -> None:
    segmenter = Segmenter(Spelling(), FRAME)
    for token, stable, tail in (
        (THE, "", "the"),
        (CAT, "the", "cat"),
        (S, "the", "cats"),
        (THE, "the cats", "the"),
    ):
        segmenter.push(Token(token, 5))
        partial = segmenter.partial()
        assert (partial.stable, partial.tail) == (stable, tail)
    assert segmenter.partial([Token(S, 9), Token(CAT, 12)]).tail == "thes cat"
