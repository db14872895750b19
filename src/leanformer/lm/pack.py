"""From smoothed n-grams to the model that is stored: a choice of them, backoffs that fit the choice, 8-bit codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leanformer.decoder.ngram import NGram
from leanformer.lm.kneser_ney import Smoothed

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_CODES = 256
_LOWEST = -99.0


def pack(smoothed: Sequence[Smoothed], kept: Sequence[Mask]) -> NGram:
    """The model of the n-grams kept, with those that they continue and their suffixes among them."""
    order = max(place for place, mask in enumerate(kept, start=1) if mask.any())
    smoothed, kept = smoothed[:order], kept[:order]
    vocabulary_size = len(smoothed[0].probability)
    children = [
        np.bincount(above.level.parent[mask], minlength=len(below.probability))[below_mask]
        for below, below_mask, above, mask in zip(
            smoothed[:-1], kept[:-1], smoothed[1:], kept[1:], strict=True
        )
    ]
    backoffs = [
        _backoff(below, above, mask)[below_mask]
        for below, below_mask, above, mask in zip(
            smoothed[:-1], kept[:-1], smoothed[1:], kept[1:], strict=True
        )
    ]
    log_probs = [
        np.log(np.maximum(one.probability[mask], np.exp(_LOWEST)))
        for one, mask in zip(smoothed, kept, strict=True)
    ]
    return packed(
        vocabulary_size,
        [one.level.token[mask] for one, mask in zip(smoothed, kept, strict=True)],
        log_probs,
        children,
        backoffs,
    )


def packed(
    vocabulary_size: int,
    tokens: Sequence[NDArray[np.uint16]],
    log_probs: Sequence[Floats],
    children: Sequence[NDArray[np.int64]],
    backoffs: Sequence[Floats],
) -> NGram:
    """The model of n-grams that stand sorted in their levels; the last two lack the highest level."""
    coded = [_codes(one) for one in log_probs]
    coded_backoffs = []
    for backoff, sizes in zip(backoffs, children, strict=True):
        codes = np.zeros(len(backoff), np.uint8)
        codes[sizes > 0], table = _codes(backoff[sizes > 0])
        coded_backoffs.append((codes, table))
    none = np.zeros((0, _CODES), np.float32)
    return NGram(
        vocabulary_size=vocabulary_size,
        levels=tuple(len(one) for one in tokens),
        token=np.concatenate(tokens).astype(np.uint16),
        log_prob=np.concatenate([codes for codes, _ in coded]),
        children=np.concatenate([*children, np.zeros(0)]).astype(np.uint16),
        backoff=np.concatenate([*(codes for codes, _ in coded_backoffs), np.zeros(0, np.uint8)]),
        log_prob_table=np.stack([table for _, table in coded]),
        backoff_table=np.stack([table for _, table in coded_backoffs]) if coded_backoffs else none,
    )


def _backoff(below: Smoothed, above: Smoothed, mask: Mask) -> Floats:
    """(P,) log of what makes the sum over all next tokens one; 0 for an n-gram that nothing continues."""
    parent, suffix = above.level.parent[mask], above.level.suffix[mask]
    size = len(below.probability)
    left = 1 - np.bincount(parent, weights=above.probability[mask], minlength=size)
    left_below = 1 - np.bincount(parent, weights=below.probability[suffix], minlength=size)
    return np.asarray(np.log(np.maximum(left, 1e-6) / np.maximum(left_below, 1e-6)), np.float64)


def _codes(values: Floats) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Codes (M,) and their table (256,): ranges that are filled alike, each with the mean of what is in it."""
    distinct = np.unique(values)
    if len(distinct) <= _CODES:
        table = np.pad(distinct, (0, _CODES - len(distinct)))
        return np.searchsorted(distinct, values).astype(np.uint8), table.astype(np.float32)
    edges = np.quantile(values, np.linspace(0, 1, _CODES + 1)[1:-1])
    codes = np.searchsorted(edges, values, side="right")
    sums, sizes = np.bincount(codes, values, _CODES), np.bincount(codes, minlength=_CODES)
    return codes.astype(np.uint8), (sums / np.maximum(sizes, 1)).astype(np.float32)
