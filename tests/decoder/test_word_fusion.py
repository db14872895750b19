"""A language model of words in a search by word-pieces: when a word is judged, and after what."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanformer.decoder.ctc_beam import CtcBeamSearch
from leanformer.decoder.word_fusion import UNKNOWN, WordFusion
from leanformer.errors import ConfigError

PIECES = ["<blank>", "\u2581", "\u2581the", "\u2581th", "e", "\u2581cat", "\u2581c", "a", "t", "s"]
WORDS = ["the", "cat", "cats", "a", ""]
WEIGHT, BONUS = 0.5, 2.0


class Asked:
    """A model that says how many words it saw, and which, and remembers what it was asked."""

    def __init__(self) -> None:
        self.questions: list[tuple[tuple[int, ...], int]] = []

    def log_prob(self, before: Sequence[int], word: int) -> float:
        self.questions.append((tuple(before), word))
        return -1.0 - word - 0.1 * sum(place * one for place, one in enumerate(before, start=1))


def fusion(model: Asked | None = None) -> WordFusion:
    return WordFusion(model or Asked(), WORDS, PIECES, WEIGHT, BONUS)


def ids(*pieces: str) -> list[int]:
    return [PIECES.index(piece.replace("_", "\u2581")) for piece in pieces]


def gains(scorer: WordFusion, tokens: Sequence[int]) -> list[float]:
    """What the text is worth after each token, if it ends there."""
    states, total, after = np.array([scorer.initial_state()]), 0.0, []
    for token in tokens:
        total += float(scorer.rows(states)[0, token])
        states = scorer.advance(states, np.array([token]))
        after.append(total - float(scorer.unearned(states)[0]))
    return after


def worth(word: int, before: float = 0.0) -> float:
    return WEIGHT * (-1.0 - word - 0.1 * before) + BONUS


def test_a_text_is_worth_its_words() -> None:
    model = Asked()
    the, th, no_cat = worth(1), worth(0) + WEIGHT * UNKNOWN, worth(0, 1) + WEIGHT * UNKNOWN
    after = gains(fusion(model), ids("_th", "e", "_", "_c", "a", "t", "s"))
    parts = [th, the, the, the + no_cat, the + no_cat, the + worth(2, 1), the + worth(3, 1)]
    assert after == pytest.approx(parts)
    assert {((), 1), ((1,), 2), ((1,), 3)} <= set(model.questions)


def test_a_word_that_is_begun_has_the_hope_of_the_best() -> None:
    scorer = fusion()
    first = scorer.rows(np.array([0]))[0]
    assert first[PIECES.index("\u2581c")] == pytest.approx(worth(2))  # "cat", not "cats"
    assert first[PIECES.index("s")] == pytest.approx(worth(0) + WEIGHT * UNKNOWN)
    assert first[PIECES.index("\u2581")] == 0.0
    begun = scorer.advance(np.array([0]), np.array(ids("_cat")))
    rows = scorer.rows(begun)[0]
    assert rows[PIECES.index("s")] == pytest.approx(worth(3) - worth(2))
    assert rows[PIECES.index("e")] == pytest.approx(worth(0) + WEIGHT * UNKNOWN - worth(2))
    assert rows[PIECES.index("\u2581the")] == pytest.approx(worth(1))
    assert scorer.unearned(begun)[0] == 0.0


@pytest.mark.parametrize(
    "pieces", [("_the", "_cat"), ("_th", "e", "_cat"), ("_", "t", "_", "_the", "_cat"), ("_th", "e", "_c", "a", "t")]
)  # fmt: skip
def test_it_does_not_matter_into_which_pieces_a_word_is_cut(pieces: tuple[str, ...]) -> None:
    found = gains(fusion(), ids(*pieces))[-1]
    unknown = worth(0) + WEIGHT * UNKNOWN if len(pieces) == 5 and pieces[0] == "_" else 0.0
    # An unknown word at the beginning is as good as none for those after it.
    assert found == pytest.approx(unknown + worth(1) + worth(2, 1))


def test_it_hears_as_many_words_before_as_a_state_holds() -> None:
    model = Asked()
    gains(fusion(model), ids(*["_the", "_cat"] * 5))
    assert model.questions[-1] == ((2, 1, 2, 1), 2)
    many = ["".join(chr(97 + number // 26**place % 26) for place in range(4)) for number in range(60_000)]
    pieces = ["<blank>", "\u2581", *(chr(97 + number) for number in range(26))]
    large = WordFusion(model, many, pieces, 1, 1)
    gains(large, [token for word in many[:9] for token in (1, *(pieces.index(letter) for letter in word))])
    assert model.questions[-1] == ((7, 8), 9)


def test_impossible_words_are_not_worse_than_any_sound() -> None:
    class Never(Asked):
        def log_prob(self, before: Sequence[int], word: int) -> float:
            return -100 * math.log(10)

    assert gains(WordFusion(Never(), WORDS, PIECES, 1.0, 0.0), ids("_cat")) == [-20.0]


def test_another_weight_shares_what_is_known() -> None:
    model = Asked()
    first = fusion(model)
    assert gains(first, ids("_cat")) == [WEIGHT * -3.0 + BONUS]
    asked = len(model.questions)
    assert gains(first.weighted(2.0, 1.0), ids("_cat")) == [2.0 * -3.0 + 1.0]
    assert gains(first, ids("_cat")) == [WEIGHT * -3.0 + BONUS]
    assert len(model.questions) == asked


def test_a_vocabulary_beyond_any_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leanformer.decoder.word_fusion._MOST_CONTEXT", 1)
    with pytest.raises(ConfigError, match="5 words is too large for a 64-bit state"):
        fusion()


@given(seed=st.integers(0, 1000), sizes=st.lists(st.integers(1, 9), max_size=6))
@settings(max_examples=10)
def test_any_steps_give_the_same(seed: int, sizes: list[int]) -> None:
    logits = 3 * np.random.default_rng(seed).standard_normal((30, len(PIECES)))
    log_probs = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)
    search = CtcBeamSearch(len(PIECES), 4, (fusion(),), patience=1000)
    whole = search.hypothesis(search.step(search.initial_state(), log_probs))
    state, rest = search.initial_state(), log_probs
    for size in [*sizes, len(rest)]:
        state, rest = search.step(state, rest[:size]), rest[size:]
    assert search.hypothesis(state) == whole
