"""When words came and were final: by hand, and by properties of texts that grow and are revised."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanformer.evaluate.emission import Delay, Snapshot, delays, places, stays_from

# Few words, so that repeated ones are the rule.
words = st.lists(st.sampled_from("abc"), max_size=7)
histories = st.lists(words, min_size=1, max_size=7)
many = settings(max_examples=60)


def history(*texts: str) -> list[int]:
    return stays_from([text.split() for text in texts])


@pytest.mark.parametrize(
    ("texts", "since"),
    [
        (["a b c"], [0, 0, 0]),
        (["", "a", "a b", "a b c"], [1, 2, 3]),
        (["a x", "a b"], [0, 1]),  # revised
        (["a b", "a", "a b"], [0, 2]),  # it flickered
        (["a b", "x b", "a b"], [2, 0]),  # what stands after a revision stays
        (["b c", "a b c"], [1, 0, 0]),  # a word was put before
        (["a x b c", "a b c"], [0, 0, 0]),  # a word was taken out
        (["a c", "a b x c"], [0, 1, 1, 1]),  # the same word, but further on: not yet there
        (["a a", "a b a"], [0, 1, 1]),  # in doubt, not yet there
        (["a b c d", ""], []),
        ([""], []),
    ],
)
def test_by_hand(texts: list[str], since: list[int]) -> None:
    assert history(*texts) == since


@many
@given(words, st.data())
def test_a_text_that_only_grows(whole: list[str], data: st.DataObject) -> None:
    lengths = [*sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5))), len(whole)]
    since = stays_from([whole[:length] for length in lengths])
    assert since == [next(n for n, size in enumerate(lengths) if size > i) for i in range(len(whole))]


@many
@given(histories)
def test_every_later_text_has_the_word(texts: list[list[str]]) -> None:
    since = stays_from(texts)
    assert len(since) == len(texts[-1])
    for word, first in zip(texts[-1], since, strict=True):
        assert all(word in text for text in texts[first:])


@many
@given(histories)
def test_never_later_than_by_the_common_beginning(texts: list[list[str]]) -> None:
    whole = texts[-1]
    for place, first in enumerate(stays_from(texts)):
        agree = [text[: place + 1] == whole[: place + 1] for text in texts]
        assert first <= max((n + 1 for n, same in enumerate(agree) if not same), default=0)


@many
@given(histories, st.integers(0, 6))
def test_a_text_seen_twice_moves_nothing(texts: list[list[str]], again: int) -> None:
    again %= len(texts)
    since = stays_from(texts)
    twice = stays_from([*texts[: again + 1], *texts[again:]])
    assert twice == [first + (first > again) for first in since]


@many
@given(words, words)
def test_places_are_an_alignment(text: list[str], whole: list[str]) -> None:
    found = sorted(places(text, whole))
    left = iter(text)
    assert all(whole[place] in left for place in found)  # in the same order
    # Each of its other words is an edit, and the nearest beginning of `whole` needs no more of them.
    cost = min(distance(text, whole[:size]) for size in range(len(whole) + 1))
    assert len(text) - len(found) <= cost


def distance(one: list[str], other: list[str]) -> int:
    row = list(range(len(other) + 1))
    for place, left in enumerate(one, start=1):
        diagonal, row[0] = row[0], place
        for column, right in enumerate(other, start=1):
            best = min(diagonal + (left != right), row[column] + 1, row[column - 1] + 1)
            diagonal, row[column] = row[column], best
    return row[-1]


def test_delays() -> None:
    snapshots = [
        Snapshot(1.0, 1.1, ("a", "x"), ()),
        Snapshot(2.0, 2.3, ("a", "b"), ("a",)),
        Snapshot(3.0, 3.5, ("a", "b"), ("a", "b")),
    ]
    early, late = delays(snapshots, {0: 1.5, 1: 1.75})
    assert values(early) == pytest.approx((-500, 500, -400, 800))
    assert values(late) == pytest.approx((250, 1250, 550, 1750))
    assert delays(snapshots, {}) == []


def values(delay: Delay) -> tuple[float, ...]:
    return delay.first, delay.final, delay.first_done, delay.final_done


@many
@given(histories, st.data())
def test_no_word_is_final_before_it_came(texts: list[list[str]], data: st.DataObject) -> None:
    # As a stream that keeps its promise: what is final begins every text from then on.
    whole, kept, snapshots = texts[-1], 0, []
    for number, text in enumerate(texts):
        kept = len(whole) if text is whole else data.draw(st.integers(kept, len(whole)))
        shown = (*whole[:kept], *text) if text is not whole else tuple(whole)
        snapshots.append(Snapshot(number, number, shown, tuple(whole[:kept])))
    for delay in delays(snapshots, dict.fromkeys(range(len(whole)), 0.0)):
        assert delay.final >= delay.first
