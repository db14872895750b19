"""Leaving out the n-grams that a shorter one predicts nearly as well.

Seymore and Rosenfeld, "Scalable backoff language models" (ICSLP 1996): an n-gram is worth

    count (log p(w | h) - log gamma(h) p(w | h'))

the log-likelihood that the text loses without it. What a kept n-gram continues, and its suffix, are kept, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from leanformer.lm.kneser_ney import Smoothed

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def worths(smoothed: Sequence[Smoothed]) -> list[Floats]:
    """(M,) for each level: what each n-gram is worth. Those of order 1 are worth everything."""
    found = [np.full(len(smoothed[0].probability), np.inf)]
    for below, this in pairwise(smoothed):
        level = this.level
        without = this.gamma[level.parent] * below.probability[level.suffix]
        found.append(level.count * np.log(this.probability / np.maximum(without, 1e-30)))
    return found


def kept(smoothed: Sequence[Smoothed], worth: Sequence[Floats], threshold: float) -> list[Mask]:
    """(M,) for each level: which n-grams stay when those that are worth less than `threshold` go."""
    masks = [one >= threshold for one in worth]
    for place in range(len(masks) - 1, 0, -1):
        level = smoothed[place].level
        masks[place - 1][level.parent[masks[place]]] = True
        masks[place - 1][level.suffix[masks[place]]] = True
    return masks
