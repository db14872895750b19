"""Counting the n-grams of a text by sorting, one order after the other.

The n-grams of an order stand sorted by what they continue, and then by their last token: the levels are those of a
trie. An n-gram that is seen too rarely is counted for its parent's statistics and then left out, and is not
continued to longer ones, so that memory grows with the text's length and not with the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Places = NDArray[np.int32]

_NONE = np.int32(-1)


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """The M n-grams of one order that were kept; P of the order below."""

    parent: Places
    "(M,): the n-gram without its last token, as a place in the level below"
    token: NDArray[np.uint16]
    "(M,): the last token"
    suffix: Places
    "(M,): the n-gram without its first token, as a place in the level below"
    count: Ints
    "(M,): how often it stands in the text"
    weight: Ints
    "(M,): the count that is smoothed: in the highest order `count`, else how many different tokens stand before it"
    totals: Ints
    "(P,): the sum of weights of all that continue a parent, rare ones included"
    frequencies: tuple[int, ...]
    "how many n-grams have weights of 1, 2, 3 and 4, rare ones included"


def count_ngrams(tokens: NDArray[np.uint16], vocabulary_size: int, cutoffs: Sequence[int]) -> list[Level]:
    """The levels of orders 1, 2, ...

    Args:
        tokens: (T,) ids below `vocabulary_size`, T > 0.
        vocabulary_size: V. The first level has all V tokens, seen or not, in the order of their ids.
        cutoffs: for each order, how often an n-gram must be seen to be kept; not falling. The first is not used.
    """
    ends = tokens.astype(np.int32)
    levels = [_first_level(tokens, vocabulary_size, highest=len(cutoffs) == 1)]
    for order, cutoff in enumerate(cutoffs[1:], start=2):
        level, ends = _next_level(tokens, ends, order, cutoff, len(levels[-1].token), order == len(cutoffs))
        levels.append(level)
    return levels


def _first_level(tokens: NDArray[np.uint16], vocabulary_size: int, highest: bool) -> Level:
    count = np.bincount(tokens, minlength=vocabulary_size)
    weight = count if highest else _variety(tokens, tokens.astype(np.int32), 1, vocabulary_size)
    nothing = np.zeros(vocabulary_size, np.int32)
    return Level(
        parent=nothing,
        token=np.arange(vocabulary_size, dtype=np.uint16),
        suffix=nothing,
        count=count,
        weight=weight,
        totals=weight.sum(keepdims=True),
        frequencies=_frequencies(weight),
    )


def _next_level(
    tokens: NDArray[np.uint16], ends: Places, order: int, cutoff: int, parents: int, highest: bool
) -> tuple[Level, Places]:
    """The level above, and the place in it of the n-gram that ends at each token, or -1; `ends` is the same below."""
    vocabulary_size = np.int64(tokens.max()) + 1
    (at,) = np.nonzero(ends[:-1] >= 0)
    keys = ends[at] * vocabulary_size + tokens[at + 1]
    at = (at + 1)[(by_key := np.argsort(keys, kind="stable"))]
    keys = keys[by_key]
    del by_key
    is_first = np.concatenate(([True], keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, bool)
    (first,) = np.nonzero(is_first)
    count = np.diff(first, append=len(keys))
    places = np.full(len(tokens), _NONE)
    places[at] = np.cumsum(is_first, dtype=np.int32) - 1
    parent, token = np.divmod(keys[first], vocabulary_size)
    suffix = ends[at[first]]
    weight = count if highest else _variety(tokens, places, order, len(count))
    kept = count >= cutoff
    renumbered = np.where(kept, np.cumsum(kept, dtype=np.int32) - 1, _NONE)
    level = Level(
        parent=parent[kept].astype(np.int32),
        token=token[kept].astype(np.uint16),
        suffix=suffix[kept],
        count=count[kept],
        weight=weight[kept],
        totals=np.bincount(parent, weights=weight, minlength=parents).astype(np.int64),
        frequencies=_frequencies(weight),
    )
    # An n-gram that is not there keeps its -1: it would be the last of `renumbered`.
    return level, np.where(places >= 0, renumbered[places] if len(renumbered) else _NONE, _NONE)


def _variety(tokens: NDArray[np.uint16], places: Places, order: int, size: int) -> Ints:
    """(size,): before how many different tokens each n-gram is found; at least 1, as if one stood at the start."""
    (at,) = np.nonzero(places[order:] >= 0)
    keys = places[order:][at] * (np.int64(tokens.max()) + 1) + tokens[at]
    distinct = np.unique(keys) // (np.int64(tokens.max()) + 1)
    variety = np.bincount(distinct, minlength=size)
    seen = np.bincount(places[places >= 0], minlength=size) > 0
    return np.where(seen, np.maximum(variety, 1), 0)


def _frequencies(weight: Ints) -> tuple[int, ...]:
    return tuple(int(np.count_nonzero(weight == number)) for number in (1, 2, 3, 4))
