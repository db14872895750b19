"""Hotwords: what a text gains by them, token by token, and what is said about wrong ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanformer.decoder.biasing import Biasing
from leanformer.errors import ConfigError
from leanformer.text.tokenizer import Tokenizer


class Letters:
    """A capital begins a word, each letter is a token: "NewYork" is two words."""

    alphabet = "-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

    def encode(self, text: str) -> list[int]:
        return [self.alphabet.index(letter) for letter in text]

    def unspellable(self, text: str) -> set[str]:
        return set(text) - set(self.alphabet) - {" "}

    def starts_word(self, token: int) -> bool:
        return self.alphabet[token].isupper()

    def __len__(self) -> int:
        return len(self.alphabet)


def gains(biasing: Biasing, text: str) -> list[float]:
    """What each letter of a text adds."""
    states, added = np.array([biasing.initial_state()]), []
    for token in Letters().encode(text):
        added.append(float(biasing.rows(states)[0, token]))
        states = biasing.advance(states, np.array([token]))
    return added


def total(biasing: Biasing, text: str) -> float:
    """What a text adds when it ends here."""
    states = np.array([biasing.initial_state()])
    for token in Letters().encode(text):
        states = biasing.advance(states, np.array([token]))
    return sum(gains(biasing, text)) - float(biasing.unearned(states)[0])


def biasing_of(*hotwords: str | tuple[str, float]) -> Biasing:
    return Biasing(hotwords, Letters(), weight=1.0)


def test_a_phrase_gains_by_the_token_and_loses_all_when_it_breaks_off() -> None:
    biasing = biasing_of("NewYork")
    assert gains(biasing, "NewYorkIs") == [1, 1, 1, 1, 1, 1, 1, 0, 0]
    assert gains(biasing, "NewYoQ") == [1, 1, 1, 1, 1, -5]
    assert gains(biasing, "NewYoN") == [1, 1, 1, 1, 1, -4]


def test_only_whole_words_match() -> None:
    biasing = biasing_of("Cat")
    assert gains(biasing, "Cats") == [1, 1, 1, -3]
    assert total(biasing, "XCat") == 3
    assert total(biasing, "Xcat") == 0
    assert total(biasing, "CatCatsCat") == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NewYorkTimes", 12),
        ("NewYorkTim", 7),  # the shorter one was complete
        ("NewYorkTimX", 7),
        ("NewYorkerX", 0),
        ("YorkshireX", 10 * 9),
        ("NewYorkshireX", 10 * 9),  # begins within a phrase that breaks off
        ("NewYork", 7),
    ],
)
def test_overlapping_phrases(text: str, expected: float) -> None:
    assert total(biasing_of("NewYork", "NewYorkTimes", ("Yorkshire", 10.0)), text) == pytest.approx(expected)


def test_a_phrase_within_one_that_breaks_off_counts() -> None:
    biasing = biasing_of("NewYorkCityHall", ("York", 2.0))
    assert total(biasing, "NewYorkCityX") == 8
    assert total(biasing, "NewYorkCityHall") == 15


PHRASES = ("Abc", "DeFg", "H")


@given(st.lists(st.sampled_from([*PHRASES, "Ab", "De", "DeF", "Xyz", "y", "c", "g"]), max_size=12))
def test_a_text_is_worth_its_phrases(parts: Sequence[str]) -> None:
    text = "".join(parts) + "X"
    worth = 0
    for phrase in PHRASES:
        ends = [place + len(phrase) for place in range(len(text)) if text.startswith(phrase, place)]
        worth += sum(text[end].isupper() for end in ends) * len(phrase)
    assert total(biasing_of(*PHRASES), text) == pytest.approx(worth)


def test_many_states_at_once() -> None:
    biasing = biasing_of("NewYork", "Yorkshire", "Work")
    states, tokens = np.meshgrid(np.arange(21), np.arange(1, 53))
    after = biasing.advance(states.ravel(), tokens.ravel())
    singly = [
        int(biasing.advance(np.array([state]), np.array([token]))[0])
        for state, token in zip(states.ravel(), tokens.ravel(), strict=True)
    ]
    assert after.tolist() == singly
    rows = biasing.rows(np.arange(21))
    np.testing.assert_array_equal(rows[7], biasing.rows(np.array([7]))[0])


def test_the_tokenizers_own_spelling(tokenizer: Tokenizer) -> None:
    biasing = Biasing(["the cat"], tokenizer, weight=2.0)
    states = np.array([biasing.initial_state()])
    ids = tokenizer.encode("a the cat sat")
    added = []
    for token in ids:
        added.append(float(biasing.rows(states)[0, token]))
        states = biasing.advance(states, np.array([token]))
    assert sum(added) == 2.0 * len(tokenizer.encode("the cat"))


@pytest.mark.parametrize(
    ("hotword", "message"),
    [
        ("caffe 7-x", r"hotword 'caffe 7-x': .*'-' '7'"),
        ("", "empty"),
        ("  ", "empty"),
        (("Cat", 0.0), "weight 0.0"),
        (("Cat", -1.0), "above 0"),
        (("Cat", float("nan")), "weight nan"),
    ],
)
def test_wrong_hotwords_are_reported(hotword: str | tuple[str, float], message: str) -> None:
    class NoHyphen(Letters):
        alphabet = "." + Letters.alphabet[1:]

    with pytest.raises(ConfigError, match=message):
        Biasing([hotword], NoHyphen())


def test_no_hotwords() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        biasing_of()
