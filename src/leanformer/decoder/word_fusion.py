"""Shallow fusion with a language model of whole words, while the search goes by word-pieces.

A hypothesis is to gain for each of its words

    weight log p(word | words before) + bonus

which is known when the next word begins, or the speech ends. Until then it gains the same with the likeliest word that
begins so, by itself, in the place of the word (look-ahead; Ortmanns and Ney 2000), so that a narrow beam does not keep
too many beginnings of no word.

What a hypothesis spells is followed letter by letter in a trie of the vocabulary, so it does not matter into which
pieces it cuts a word. A word that the vocabulary lacks is judged as the model's unknown word, and 10 worse: that one
stands for all unknown words together, and would be likelier than most known ones.

States are numbers, and the model is only ever asked for the probability of a word after some others, so a stream's
state stays as small as with any scorer; answers are kept for a while, and may be forgotten at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from typing import Protocol

import numpy as np

from leanformer.decoder.scorer import Floats, Ints
from leanformer.errors import ConfigError

_ROOT = 0
_MOST_CONTEXT = 4
_LEAST_CONTEXT = 2
_REMEMBERED, _ROWS_REMEMBERED = 1 << 16, 1 << 12
UNKNOWN = -10.0
"natural logarithm, beside what the model says of its unknown word"
# What a model without an unknown word gives one, 1e-100, no sound makes up for.
_LOWEST = -20.0


class WordModel(Protocol):
    """A language model over numbered words: 0 is any that it does not know."""

    def log_prob(self, before: Sequence[int], word: int) -> float:
        """The natural logarithm of p(word | the words before), which begin in the middle of a sentence."""
        ...


class WordFusion:
    """A scorer; immutable once made. Its state holds the last words, and the node of the one being said."""

    def __init__(
        self, model: WordModel, vocabulary: Sequence[str], pieces: Sequence[str], weight: float, bonus: float
    ) -> None:
        """Make the trie.

        Args:
            model: judges words by their place in `vocabulary`, counted from 1.
            vocabulary: words in the letters of the pieces; one of "" is never said.
            pieces: the tokenizer's, the blank at 0; U+2581 stands before a word's first letter.
            weight: of the logarithms.
            bonus: what each word gains.

        Raises:
            ConfigError: there are too many words for a state of 64 bits.
        """
        self._model = model
        alphabet = sorted({letter for piece in pieces for letter in piece} - {"\u2581"})
        numbers = {letter: number for number, letter in enumerate(alphabet)}
        self._size = len(alphabet)
        self._starts = np.array([piece.startswith("\u2581") for piece in pieces])
        self._letters = _padded([[numbers[one] for one in piece.lstrip("\u2581")] for piece in pieces]).T
        spelled = [[numbers[one] for one in word] for word in vocabulary]
        alone = np.array([self._floored((), word) for word in range(len(vocabulary) + 1)])
        self._keys, self._word, self._hope = _trie(spelled, alone, self._size)
        self._base = len(vocabulary) + 1
        context = next((n for n in range(_MOST_CONTEXT, 0, -1) if self._base**n * len(self._word) < 2**63), 0)
        if context < _LEAST_CONTEXT:
            raise ConfigError(f"a vocabulary of {len(vocabulary)} words is too large for a 64-bit state")
        self._bases = [self._base**place for place in range(context - 1, -1, -1)]
        self._log_prob = lru_cache(_REMEMBERED)(self._judge)
        self._nodes_after = lru_cache(_ROWS_REMEMBERED)(self._all_after)
        self.weight, self.bonus = weight, bonus

    def weighted(self, weight: float, bonus: float) -> WordFusion:
        """The same with another weight and bonus; what is large, and what is remembered, is shared."""
        other = copy(self)
        other.weight, other.bonus = weight, bonus
        return other

    def initial_state(self) -> int:
        """Nothing said."""
        return _ROOT

    def advance(self, states: Ints, tokens: Ints) -> Ints:
        """States (N,) and the tokens (N,) said in them, to the states after."""
        contexts, nodes = np.divmod(states, len(self._word))
        ends = self._starts[tokens] & (nodes != _ROOT)
        contexts = np.where(ends, contexts % self._bases[0] * self._base + self._word[nodes], contexts)
        nodes = self._after(np.where(ends, _ROOT, nodes), tokens)
        return np.asarray(contexts * len(self._word) + nodes, np.int64)

    def rows(self, states: Ints) -> Floats:
        """(N, V): what each token of the vocabulary adds to the score."""
        nodes = states % len(self._word)
        within = self._held(np.stack([self._nodes_after(node) for node in nodes.tolist()]))
        begun = self._held(self._nodes_after(_ROOT)) + self._earned(states)[:, None]
        return np.where(self._starts, begun, within) - self._held(nodes)[:, None]

    def unearned(self, states: Ints) -> Floats:
        """(N,) what was hoped for beyond what the last word is worth."""
        return self._held(states % len(self._word)) - self._earned(states)

    def _held(self, nodes: Ints) -> Floats:
        """What a word has gained that has come as far as these nodes."""
        return np.where(nodes == _ROOT, 0.0, self.weight * self._hope[nodes] + self.bonus)

    def _earned(self, states: Ints) -> Floats:
        """(N,) what the words being said are worth if they end here."""
        judged = np.array([self._log_prob(state) for state in states.tolist()], np.float64)
        return np.where(states % len(self._word) == _ROOT, 0.0, self.weight * judged + self.bonus)

    def _judge(self, state: int) -> float:
        context, node = divmod(state, len(self._word))
        if node == _ROOT:
            return 0.0
        # The first words of a stream have fewer before them; 0 stands for these as for unknown ones.
        before = [context // base % self._base for base in self._bases]
        heard = next((place for place, word in enumerate(before) if word), len(before))
        return self._floored(before[heard:], int(self._word[node]))

    def _floored(self, before: Sequence[int], word: int) -> float:
        return max(self._model.log_prob(before, word), _LOWEST) + (0.0 if word else UNKNOWN)

    def _all_after(self, node: int) -> Ints:
        """(V,) the nodes after each token within a word."""
        tokens = np.arange(len(self._starts))
        return self._after(np.full(len(tokens), node), tokens)

    def _after(self, nodes: Ints, tokens: Ints) -> Ints:
        """The nodes (N,) after the letters of a token each; the last node of all for what the vocabulary lacks."""
        for letters in self._letters[:, tokens]:
            keys = nodes * self._size + letters
            places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            child = np.where(self._keys[places] == keys, places + 1, len(self._word) - 1)
            nodes = np.where(letters < 0, nodes, child)
        return nodes


def _padded(rows: Sequence[Sequence[int]]) -> Ints:
    """(R, longest), with -1 behind the end of each row."""
    lengths = np.array([len(row) for row in rows])
    filled = np.full((len(rows), max(1, lengths.max(initial=0))), -1, np.int64)
    filled[np.arange(filled.shape[1]) < lengths[:, None]] = [one for row in rows for one in row]
    return filled


def _trie(words: Sequence[Sequence[int]], alone: Floats, size: int) -> tuple[Ints, Ints, Floats]:
    """A trie of W words over `size` letters, whose last node stands for all that is not in it.

    Args:
        words: their letters.
        alone: (W + 1,) what each is worth by itself, behind the unknown word.
        size: how many letters there are.

    Returns:
        Sorted keys, parent * size + letter, of all nodes but the root and the last, whose number is one more than the
        place of their key; the word that each node ends, counted from 1, or 0; and the best of `alone` below each.
    """
    letters = _padded(words)
    node = np.zeros(len(words), np.int64)
    keys, hopes, first = [np.zeros(0, np.int64)], [alone[:1]], 1
    for column in letters.T:
        (longer,) = np.nonzero(column >= 0)
        found, which = np.unique(node[longer] * size + column[longer], return_inverse=True)
        node[longer] = first + which
        keys.append(found)
        # A prefix that is no word yet may still become one, or stay unknown.
        hopes.append(np.full(len(found), alone[0]))
        np.maximum.at(hopes[-1], which, alone[1:][longer])
        first += len(found)
    word = np.zeros(first + 1, np.int64)
    # Of two that are spelled alike, the first in the vocabulary counts.
    word[node[::-1]] = np.arange(len(words), 0, -1)
    word[_ROOT] = 0
    return np.concatenate(keys), word, np.concatenate([*hopes, alone[:1]])
