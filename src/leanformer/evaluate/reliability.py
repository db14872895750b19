"""Whether confidence can be taken at its word: of the words with 0.8, are four out of five right?

    ECE = sum over bins of (words in the bin / words) * |share that is right - mean confidence|

Expected calibration error over ten bins of equal width (Naeini, Cooper and Hauskrecht, "Obtaining well calibrated
probabilities using Bayesian binning", AAAI 2015). It is 0 for a recogniser that gives every word the share of words
that are right, so there is also how much confidence tells (NIST's normalised cross entropy; Siu and Gish, "Evaluation
of word confidence for speech recognition systems", 1999): 1 if it tells everything, 0 if no more than that share, less
than 0 if it misleads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leanformer.evaluate.evaluate import Scored
from leanformer.evaluate.judge import judge

BINS = 10
# Confidence has three digits; 0 and 1 shall not cost infinitely much.
_LEAST = 5e-4


@dataclass(frozen=True, slots=True)
class Bin:
    """The words with a confidence from `low` up to `high`: how many, their mean confidence, the share that is right."""

    low: float
    high: float
    words: int
    confidence: float | None
    right: float | None


@dataclass(frozen=True, slots=True)
class Reliability:
    """Of all words that were heard. `ece` and `nce` are None without words, or without right or wrong ones."""

    words: int
    right: float | None
    ece: float | None
    nce: float | None
    bins: tuple[Bin, ...]

    @classmethod
    def of(cls, scored: Iterable[Scored]) -> Reliability:
        """Sum up some clips."""
        judged = [word for one in scored for word in judge(one.clip.utterance.text, one.words)]
        return cls.of_words(
            [word.heard.confidence for word in judged], [word.place is not None for word in judged]
        )

    @classmethod
    def of_words(cls, confidences: Sequence[float], right: Sequence[bool]) -> Reliability:
        """Of N words: the confidence of each, and whether it is right."""
        sure, well = np.asarray(confidences, np.float64), np.asarray(right, bool)
        places = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
        bins = tuple(_bin(number, sure[places == number], well[places == number]) for number in range(BINS))
        if not len(sure):
            return cls(0, None, None, None, bins)
        gaps = [
            one.words * abs(one.right - one.confidence)
            for one in bins
            if one.right is not None and one.confidence is not None
        ]
        return cls(len(sure), float(well.mean()), sum(gaps) / len(sure), _told(sure, well), bins)


def _bin(number: int, sure: NDArray[np.float64], well: NDArray[np.bool_]) -> Bin:
    mean = (float(sure.mean()), float(well.mean())) if len(sure) else (None, None)
    return Bin(number / BINS, (number + 1) / BINS, len(sure), *mean)


def _told(sure: NDArray[np.float64], well: NDArray[np.bool_]) -> float | None:
    """Normalised cross entropy; None if there is nothing to be told."""
    share = float(well.mean())
    if share in (0.0, 1.0):
        return None
    return 1 - _entropy(np.clip(sure, _LEAST, 1 - _LEAST), well) / _entropy(np.full(len(sure), share), well)


def _entropy(sure: NDArray[np.float64], well: NDArray[np.bool_]) -> float:
    return float(-np.log(np.where(well, sure, 1 - sure)).mean())
