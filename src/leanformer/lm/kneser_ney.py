"""Modified Kneser-Ney smoothing, interpolated.

Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1998), section 4.1.6:

    p(w | h) = (a(hw) - D(a(hw))) / a(h.) + gamma(h) p(w | h')          h' is h without its first token

with `a` the weights of `Level`, and discounts from how many n-grams have weights of 1 to 4. gamma(h) is what
makes the sum over w one; what was counted but not kept goes into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leanformer.lm.counts import Level

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Smoothed:
    """Of the M n-grams of a level: p(last token | those before)."""

    level: Level
    probability: Floats
    "(M,)"
    gamma: Floats
    "(P,): of the n-grams below, as contexts"


def smooth(levels: Sequence[Level]) -> list[Smoothed]:
    """Probabilities for all levels, the lowest first. The blank, token 0, has none."""
    first = levels[0]
    discounted = _discounted(first)
    # What is left is for all tokens, seen or not, so that none is impossible.
    uniform = np.full(len(first.token), 1 / (len(first.token) - 1))
    uniform[0] = 0
    rest = np.array([1 - discounted.sum()], np.float64)
    smoothed = [Smoothed(first, discounted + rest * uniform, rest)]
    for level in levels[1:]:
        below = smoothed[-1].probability
        discounted = _discounted(level)
        left = 1 - np.bincount(level.parent, weights=discounted, minlength=len(below))
        gamma = np.asarray(left, np.float64)
        probability = discounted + gamma[level.parent] * below[level.suffix]
        smoothed.append(Smoothed(level, probability, gamma))
    return smoothed


def _discounted(level: Level) -> Floats:
    discounts = np.array([0.0, *discounts_of(level.frequencies)])
    kept = level.weight - discounts[np.minimum(level.weight, 3)]
    return np.asarray(kept / np.maximum(level.totals, 1)[level.parent], np.float64)


def discounts_of(frequencies: Sequence[int]) -> tuple[float, float, float]:
    """The discounts of weights 1, 2, and 3 or more; 0.5, 1 and 1.5 where a text is too small to tell."""
    one, two = frequencies[0], frequencies[1]
    if min(frequencies) == 0:
        return 0.5, 1.0, 1.5
    ratio = one / (one + 2 * two)
    found = [k - (k + 1) * ratio * frequencies[k] / frequencies[k - 1] for k in (1, 2, 3)]
    return tuple(min(max(d, 0.1 * k), 0.95 * k) for k, d in enumerate(found, start=1))  # type: ignore[return-value]
