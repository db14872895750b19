"""Words and segments from tokens and their times."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from leanformer.runtime.segmenter import LONGEST_SECONDS, Segmenter
from leanformer.runtime.transcript import Segment
from leanformer.runtime.word_times import WordTimes
from leanformer.runtime.words import Token

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


@pytest.mark.parametrize("times", [WordTimes(), WordTimes(0.45, 45.0, 130.0), WordTimes(0.2, 1000.0, 1000.0)])
@pytest.mark.parametrize("seed", range(4))
def test_words_never_overlap_not_even_between_segments(times: WordTimes, seed: int) -> None:
    random = np.random.default_rng(seed)
    gaps = random.choice([0, 1, 2, 5, 24, 25, 40], size=600, p=[0.1, 0.3, 0.3, 0.2, 0.04, 0.04, 0.02])
    segmenter = Segmenter(Spelling(), FRAME, times)
    closed = []
    for token, frame in zip(random.choice([1, THE, CAT, S], size=600), np.cumsum(gaps), strict=True):
        closed += [segmenter.idle(int(frame)), segmenter.push(Token(int(token), int(frame)))]
    segments = [one for one in [*closed, segmenter.flush()] if one is not None]
    words = [word for segment in segments for word in segment.words]
    assert len(segments) > 5
    assert all(word.start < word.end for word in words)
    assert all(word.end <= after.start for word, after in pairwise(words))


@pytest.mark.parametrize("waited", [0, 1, 7, 1000])
def test_a_word_before_a_pause_ends_the_same_however_long_it_took_to_notice(waited: int) -> None:
    segmenter = Segmenter(Spelling(), FRAME, WordTimes(0.2, 0.0, 1000.0))
    segmenter.push(Token(THE, 5))
    closed = segmenter.idle(30 + waited) if waited < 1000 else segmenter.push(Token(CAT, 30 + waited))
    assert closed is not None
    assert closed.words[0].end == pytest.approx((5 + 0.2 * 25) * FRAME)


def test_endless_speech_is_not_cut_between_words_of_one_frame() -> None:
    long = [(THE, frame) for frame in range(0, 500, 5)]
    first, second = segments_of([*long, (S, 500), (CAT, 500), (CAT, 505)])
    assert (len(first.words), len(second.words)) == (101, 1)
    assert first.words[-1].end <= second.words[0].start
