"""An n-gram model of tokens with backoff, in few bytes, looked up for many contexts at once.

    log p(w | h) = stored                         if hw is in the model
                 = backoff(h) + log p(w | h')     if not; h' is h without its first token

where backoff(h) is 0 unless the model has something that continues h.

The n-grams are a trie, level after level; within a level they are sorted by what they continue and then by token,
so that it takes three numbers to store one: its last token, its log-probability, and how many continue it.
Log-probabilities are 8-bit codes into a table for each level.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_UNKNOWN = -1


@dataclass(frozen=True, slots=True, eq=False)
class NGram:
    """A model of order N over V tokens with ids from 1; 0 is the blank, which is never said."""

    vocabulary_size: int
    levels: tuple[int, ...]
    "how many n-grams there are of each order; V of the first, in the order of their ids"
    token: NDArray[np.uint16]
    "(M,): the last token of each n-gram"
    log_prob: NDArray[np.uint8]
    "(M,)"
    children: NDArray[np.uint16]
    "(C,): how many n-grams continue each; C counts those below the highest order"
    backoff: NDArray[np.uint8]
    "(C,), of no meaning where nothing continues an n-gram"
    log_prob_table: NDArray[np.float32]
    "(N, 256): natural logarithms"
    backoff_table: NDArray[np.float32]
    "(N - 1, 256)"
    _begin: Ints = field(init=False)
    _keys: Ints = field(init=False)

    def __post_init__(self) -> None:
        begin = self.vocabulary_size + np.concatenate(([0], np.cumsum(self.children, dtype=np.int64)))
        parents = np.repeat(np.arange(len(self.children)), self.children)
        object.__setattr__(self, "_begin", begin)
        object.__setattr__(self, "_keys", parents * self.vocabulary_size + self.token[self.vocabulary_size :])

    @property
    def order(self) -> int:
        """N."""
        return len(self.levels)

    def log_probs(self, contexts: Ints) -> Floats:
        """log p(w | h) of every token w.

        Args:
            contexts: (B, N - 1) the tokens h before it, the newest last; 0 where there was none yet.

        Returns:
            (B, V); the blank's column means nothing.
        """
        rows = np.tile(self._log_prob(np.arange(self.vocabulary_size), 0), (len(contexts), 1))
        for length, found in enumerate(self._nodes(contexts), start=1):
            (known,) = np.nonzero((found != _UNKNOWN) & (self.children[found] > 0))
            nodes = found[known]
            rows[known] += self.backoff_table[length - 1][self.backoff[nodes]][:, None]
            sizes = self.children[nodes].astype(np.int64)
            starts = np.cumsum(sizes) - sizes
            places = np.arange(sizes.sum()) + np.repeat(self._begin[nodes] - starts, sizes)
            rows[np.repeat(known, sizes), self.token[places]] = self._log_prob(places, length)
        return rows

    def _nodes(self, contexts: Ints) -> list[Ints]:
        """For each length from 1 to N - 1, where the last tokens of each context stand in the model."""
        longest = contexts.shape[1]
        if not longest:
            return []
        # Column c is the walk that begins with the token of column c; all walks take their next token together.
        walks = contexts.copy()  # a token's number is its place; nothing continues the blank
        for step in range(1, longest):
            walks[:, : longest - step] = self._child(walks[:, : longest - step], contexts[:, step:])
        return [walks[:, longest - length] for length in range(1, longest + 1)]

    def _child(self, nodes: Ints, tokens: Ints) -> Ints:
        keys = nodes * self.vocabulary_size + tokens
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        found = (self._keys[places] == keys) & (nodes != _UNKNOWN) if len(self._keys) else nodes < _UNKNOWN
        return np.where(found, places + self.vocabulary_size, _UNKNOWN)

    def _log_prob(self, places: Ints, level: int) -> Floats:
        return np.asarray(self.log_prob_table[level][self.log_prob[places]], np.float64)
