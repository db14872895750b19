"""From a text's tokens to the file of a language model no larger than wanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leanformer.decoder.language_model_file import Header, to_bytes
from leanformer.decoder.ngram import NGram
from leanformer.errors import ConfigError
from leanformer.lm.counts import count_ngrams
from leanformer.lm.kneser_ney import Smoothed, smooth
from leanformer.lm.pack import pack
from leanformer.lm.prune import kept, worths

Floats = NDArray[np.float64]

# Bytes of an n-gram in the compressed file, before it is known; a little low, as files are made smaller only.
_FIRST_GUESS = 2.4
_ROUNDS = 6
# Of longer n-grams those that were seen once are left out: a large text has too many to sort out one by one.
_SINGLES_UP_TO = 3


def build(
    tokens: NDArray[np.uint16], vocabulary_size: int, order: int, max_bytes: int, header: Header
) -> tuple[NGram, bytes]:
    """The model and its file, pruned to fit into `max_bytes`.

    Args:
        tokens: (T,) the text.
        vocabulary_size: V, with the blank.
        order: how many tokens an n-gram has at most.
        max_bytes: of the file.
        header: goes into the file.

    Raises:
        ConfigError: not even all single tokens would fit.
    """
    cutoffs = [1 if length <= _SINGLES_UP_TO else 2 for length in range(1, order + 1)]
    smoothed = smooth(count_ngrams(tokens, vocabulary_size, cutoffs))
    worth = worths(smoothed)
    everything = sum(len(one) for one in worth)
    wanted = min(everything, round(max_bytes / _FIRST_GUESS))
    for _ in range(_ROUNDS):
        ngram = pack(smoothed, kept(smoothed, worth, _threshold(smoothed, worth, wanted)))
        content = to_bytes(ngram, header)
        if len(content) <= max_bytes:
            return ngram, content
        wanted = round(wanted * 0.98 * max_bytes / len(content))
    raise ConfigError(
        f"no model of order {order} fits into {max_bytes / 1e6:g} MB: give it more with --max-mb"
    )


def _threshold(smoothed: Sequence[Smoothed], worth: Sequence[Floats], wanted: int) -> float:
    """The lowest bound that keeps `wanted` n-grams at most, near enough."""
    values = np.sort(np.concatenate([one[np.isfinite(one)] for one in worth]))
    if not len(values) or wanted >= sum(len(one) for one in worth):
        return -np.inf
    low, high = 0, len(values)  # what is kept for others' sake makes the count unknown until tried
    while high - low > max(1, len(values) // 2000):
        middle = (low + high) // 2
        if sum(int(mask.sum()) for mask in kept(smoothed, worth, float(values[middle]))) > wanted:
            low = middle
        else:
            high = middle
    return float(values[high]) if high < len(values) else np.inf
