"""The map from a word's probability to its confidence, found on words that are known to be right or wrong.

Logistic regression of "is right" on ln p and -ln(1 - p), that is beta calibration (`runtime/confidence.py`), by
Newton's method. A penalty worth about one word pulls towards the identity, so that few words, or none that are wrong,
do no harm. A weight that comes out negative is set to 0, as its authors do, so that confidence never falls with p.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leanformer.runtime.confidence import Calibration

_PENALTY = 1.0
_ROUNDS = 100
_IDENTITY = np.array([1.0, 1.0, 0.0])


def fit_confidence(probabilities: Sequence[float], right: Sequence[bool]) -> Calibration:
    """The map for N words: the evidence of each, in (0, 1), and whether it is right."""
    p, well = np.asarray(probabilities, np.float64), np.asarray(right, np.float64)
    inputs = np.stack([np.log(p), -np.log1p(-p), np.ones(len(p))], axis=1)
    used = np.ones(3, bool)
    while True:
        weights = _regression(inputs, well, used)
        negative = used & (weights < 0)
        negative[2] = False
        if not negative.any():
            a, b, c = (round(float(value), 4) for value in weights)
            return Calibration(a, b, c)
        used[np.argmin(np.where(negative, weights, 0.0))] = False


def _regression(
    inputs: NDArray[np.float64], well: NDArray[np.float64], used: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Weights (3,) of the least penalised cross entropy; those not used are 0."""
    weights = np.where(used, _IDENTITY, 0.0)
    loss = _loss(inputs, well, weights, used)
    for _ in range(_ROUNDS):
        sure = 1 / (1 + np.exp(-np.clip(inputs @ weights, -500, 500)))
        slope = inputs.T @ (sure - well) + _PENALTY * (weights - _IDENTITY)
        bend = (inputs * (sure * (1 - sure))[:, None]).T @ inputs + _PENALTY * np.eye(3)
        move = np.zeros(3)
        move[used] = np.linalg.solve(bend[np.ix_(used, used)], slope[used])
        # A full step may go too far where the map is steep.
        while (new := _loss(inputs, well, weights - move, used)) > loss and np.abs(move).max() > 1e-9:
            move = move / 2
        weights = weights - move
        if loss - new < 1e-9 * max(1.0, loss):
            break
        loss = new
    return weights


def _loss(
    inputs: NDArray[np.float64],
    well: NDArray[np.float64],
    weights: NDArray[np.float64],
    used: NDArray[np.bool_],
) -> float:
    logits = inputs @ weights
    entropy = np.logaddexp(0.0, logits) - well * logits
    return float(entropy.sum() + _PENALTY / 2 * ((weights - _IDENTITY)[used] ** 2).sum())
