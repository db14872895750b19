"""How far a word error rate may be trusted: a bootstrap interval over speakers or utterances.

M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP
2004: draw n units with replacement out of the n there are, take the ratio of summed errors to summed words,
do so B times; the interval lies between the percentiles of these ratios. A speaker's errors hang together, so
where enough speakers are known, they are the units: the interval then speaks of other speakers, and is wider.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_SPEAKERS = 5
RESAMPLES = 10_000
# What one block of resamples may hold, so that memory does not grow with the corpus.
_BLOCK_CELLS = 1_000_000


def resampling_units(speakers: Sequence[str]) -> tuple[NDArray[np.int64], bool]:
    """Group utterances into the units that are drawn together.

    Args:
        speakers: of each of U utterances, unlike for different people; "" where unknown.

    Returns:
        (U,) the unit of each utterance, numbered from 0; and whether speakers are the units, which takes at
        least `FEWEST_SPEAKERS`. Then an utterance of an unknown speaker is a unit of its own.
    """
    by_speaker = len(set(speakers) - {""}) >= FEWEST_SPEAKERS
    if not by_speaker:
        return np.arange(len(speakers)), False
    numbers: dict[object, int] = {}
    keys = (speaker or place for place, speaker in enumerate(speakers))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64), True


def bootstrap_interval(
    errors: ArrayLike,
    words: ArrayLike,
    units: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The interval of sum(errors) / sum(words) over U utterances.

    Args:
        errors: (U,) word errors of each utterance.
        words: (U,) words of each reference.
        units: (U,) which utterances are drawn together, as from `resampling_units`.
        confidence: how much of the resampled ratios lies between the two ends.
        resamples: how often to draw (B).
        seed: the same numbers give the same interval.

    Returns:
        The lower and upper end, or None where nothing can be told: fewer than two units with words.
    """
    errors_of = np.bincount(np.asarray(units, np.int64), weights=np.asarray(errors, np.float64))
    words_of = np.bincount(np.asarray(units, np.int64), weights=np.asarray(words, np.float64))
    size = len(words_of)
    if np.count_nonzero(words_of) < 2:
        return None
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // size)
    ratios = []
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(size, size=(rows, size))
        summed = words_of[drawn].sum(axis=1)
        spoken = summed > 0  # a draw of nothing but wordless units has no ratio
        ratios.append(errors_of[drawn].sum(axis=1)[spoken] / summed[spoken])
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(ratios), [tail, 1 - tail])
    return float(low), float(high)
