"""Hotwords: phrases that the recogniser is told to expect, in a trie with failure links.

Aho and Corasick, "Efficient string matching: an aid to bibliographic search" (1975). Each token that goes on with a
phrase adds the phrase's weight to a hypothesis's score, so that a rare name survives in the beam before it is
complete; when it is not completed, all of it is taken back. A state is a node of the trie: the longest end of what
was said that begins a phrase.

A phrase matches whole words. It begins with a token that begins a word, as the tokenizer spells it; its last token
counts for good when the next one begins a word, or the speech ends. Only the tokenizer's own spelling of a phrase
matches, not other ways to cut it into pieces; a model that was trained on that spelling hardly uses others.

Where phrases overlap, and the longer is not completed, the one that is worth most counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from leanformer.decoder.scorer import Floats, Ints
from leanformer.errors import ConfigError

DEFAULT_WEIGHT = 1.0
"""Natural logarithms for each token: how much less likely a phrase may sound, and yet be heard."""

Hotword = str | tuple[str, float]
"""A phrase in the tokenizer's letters, or one with a weight of its own."""

_ROOT = 0


class Speller(Protocol):
    """What hotwords need of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """The ids that spell a text."""
        ...

    def unspellable(self, text: str) -> set[str]:
        """The characters that no token has."""
        ...

    def starts_word(self, token: int) -> bool:
        """Whether a token begins a word."""
        ...

    def __len__(self) -> int: ...


class Biasing:
    """A scorer for some phrases; immutable once made."""

    def __init__(self, hotwords: Sequence[Hotword], speller: Speller, weight: float = DEFAULT_WEIGHT) -> None:
        """Make the trie.

        Args:
            hotwords: at least one phrase.
            speller: the model's tokenizer.
            weight: of phrases without one; natural logarithms for each token.

        Raises:
            ConfigError: there is no phrase, or one is empty, has letters that the tokenizer lacks, or a weight
                that is not a number above 0.
        """
        if not hotwords:
            raise ConfigError("no hotwords: give at least one phrase")
        weighted = [(one, weight) if isinstance(one, str) else one for one in hotwords]
        for one in weighted:
            check(one, speller)
        spelled = [speller.encode(phrase) for phrase, _ in weighted]
        weights = np.array([own for _, own in weighted], np.float64)
        self._size = len(speller)
        self._starts = np.array([token > 0 and speller.starts_word(token) for token in range(len(speller))])
        # A node's number is one more than the place of its key, parent * V + token: they stand level by level.
        self._keys, gains, final, depths = _trie(spelled, weights, len(speller))
        parents, self._tokens = np.divmod(self._keys, len(speller))
        self._fail = np.zeros(1 + len(self._keys), np.int64)
        self._score = np.zeros(len(self._fail))
        # What stays of the score when a phrase breaks off, within a word (column 0) or before the next one (1).
        self._kept = np.zeros((len(self._fail), 2))
        # How much of the score was certain already when a node's last token was said.
        self._banked = np.zeros(len(self._fail))
        for begin, end in pairwise(depths):
            self._link(np.arange(begin, end), parents[begin - 1 : end - 1], gains, final)

    def initial_state(self) -> int:
        """No phrase begun."""
        return _ROOT

    def advance(self, states: Ints, tokens: Ints) -> Ints:
        """States (N,) and the tokens (N,) said in them, to the states after."""
        states = states.copy()
        after = self._child(states, tokens)
        while len(lost := np.nonzero((after == _ROOT) & (states != _ROOT))[0]):
            states[lost] = self._fail[states[lost]]
            after[lost] = self._child(states[lost], tokens[lost])
        return after

    def rows(self, states: Ints) -> Floats:
        """(N, V): what each token of the vocabulary adds to the score."""
        rows = self._kept[states][:, self._starts.astype(np.int64)] - self._score[states][:, None]
        suffixes = [states]
        while suffixes[-1].any():
            suffixes.append(self._fail[suffixes[-1]])
        gain = self._score - self._banked
        # From the shortest to the longest, which is the one that goes on.
        for nodes in reversed(suffixes):
            begins = np.searchsorted(self._keys, nodes * self._size)
            sizes = np.searchsorted(self._keys, (nodes + 1) * self._size) - begins
            which = np.repeat(np.arange(len(nodes)), sizes)
            places = np.arange(sizes.sum()) + np.repeat(begins - np.cumsum(sizes) + sizes, sizes)
            tokens = self._tokens[places]
            held = (
                self._kept[states[which], self._starts[tokens].astype(np.int64)] - self._score[states[which]]
            )
            rows[which, tokens] = held + gain[places + 1]
        return rows

    def unearned(self, states: Ints) -> Floats:
        """(N,) what was added for phrases that are not complete."""
        return np.asarray(self._score[states] - self._kept[states, 1], np.float64)

    def _child(self, states: Ints, tokens: Ints) -> Ints:
        keys = states * self._size + tokens
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[places] == keys, places + 1, _ROOT)

    def _link(self, nodes: Ints, parents: Ints, gains: Floats, final: NDArray[np.bool_]) -> None:
        """Fill in the nodes of a level; those above are done."""
        tokens = self._tokens[nodes - 1]
        on_top = parents == _ROOT
        self._fail[nodes] = np.where(on_top, _ROOT, self.advance(self._fail[parents], tokens))
        self._score[nodes] = self._score[parents] + gains[nodes - 1]
        self._banked[nodes] = banked = self._kept[parents, self._starts[tokens].astype(np.int64)]
        kept = np.maximum(banked[:, None], self._kept[self._fail[nodes]])
        kept[:, 1] = np.where(final[nodes], np.maximum(kept[:, 1], self._score[nodes]), kept[:, 1])
        self._kept[nodes] = kept


def _trie(
    spelled: Sequence[Sequence[int]], weights: Floats, size: int
) -> tuple[Ints, Floats, NDArray[np.bool_], list[int]]:
    """Keys of all nodes but the root; what each token gains; which nodes, the root among them, end a phrase; and
    the number of the first node of each level, with one more at the end."""
    lengths = np.array([len(one) for one in spelled])
    tokens = np.zeros((len(spelled), lengths.max()), np.int64)
    tokens[np.arange(lengths.max()) < lengths[:, None]] = [token for one in spelled for token in one]
    node = np.zeros(len(spelled), np.int64)
    keys: list[Ints] = []
    gains: list[Floats] = []
    firsts = [1]
    for depth in range(lengths.max()):
        (longer,) = np.nonzero(lengths > depth)
        found, which = np.unique(node[longer] * size + tokens[longer, depth], return_inverse=True)
        gain = np.zeros(len(found))
        np.maximum.at(gain, which, weights[longer])
        node[longer] = firsts[-1] + which
        keys.append(found)
        gains.append(gain)
        firsts.append(firsts[-1] + len(found))
    final = np.zeros(firsts[-1], np.bool_)
    final[node] = True
    return np.concatenate(keys), np.concatenate(gains), final, firsts


def check(hotword: Hotword, speller: Speller) -> None:
    """Raise ConfigError if `Biasing` would not take this phrase or its weight."""
    phrase, weight = (hotword, DEFAULT_WEIGHT) if isinstance(hotword, str) else hotword
    if missing := speller.unspellable(phrase):
        shown = " ".join(sorted(repr(letter) for letter in missing))
        raise ConfigError(
            f"hotword {phrase!r}: this model cannot write {shown}; spell the phrase with the letters that it has"
        )
    if not phrase.strip():
        raise ConfigError(f"hotword {phrase!r} is empty: give at least one letter")
    if not (math.isfinite(weight) and weight > 0):
        raise ConfigError(f"hotword {phrase!r}: weight {weight} is not a number above 0")
