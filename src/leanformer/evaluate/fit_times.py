"""The three numbers of `runtime/word_times.py`, found on words whose times are known from a forced alignment.

The least mean size of the errors of starts and ends, over a grid: means of sizes, unlike those of squares, are not
ruled by the few words that an alignment puts seconds away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leanformer.runtime.word_times import WordTimes

_SHARES = np.arange(4, 21) / 20
_LEADS_MS = np.arange(0, 101, 2.5)
_LAGS_MS = np.arange(0, 401, 10.0)


@dataclass(frozen=True, slots=True)
class Placed:
    """A word recognised right: the frames of its tokens, of its neighbours' nearest ones, and when it was spoken.

    `before` and `after` are None where the utterance has no such word. `start` and `end` are seconds.
    """

    first: int
    last: int
    letters: int
    before: int | None
    after: int | None
    start: float
    end: float


def fit_times(words: Sequence[Placed], frame_seconds: float) -> WordTimes:
    """The numbers for N > 0 words."""
    far = 1e6
    first, last, letters, start, end = (
        np.array([getattr(one, name) for one in words], np.float64)
        for name in ("first", "last", "letters", "start", "end")
    )
    before = np.array([-far if one.before is None else one.before for one in words])
    after = np.array([far if one.after is None else one.after for one in words])
    leads, lags = _LEADS_MS[:, None] / 1000, _LAGS_MS[:, None] / 1000
    best, found = np.inf, WordTimes()
    for share in _SHARES:
        starts = np.maximum(
            first * frame_seconds - leads * letters, _meet(share, before, first) * frame_seconds
        )
        ends = np.minimum((last + 1) * frame_seconds + lags, _meet(share, last, after) * frame_seconds)
        by_lead = np.abs(np.maximum(starts, 0.0) - start).mean(axis=1)
        by_lag = np.abs(ends - end).mean(axis=1)
        if by_lead.min() + by_lag.min() < best:
            best = float(by_lead.min() + by_lag.min())
            lead, lag = _LEADS_MS[by_lead.argmin()], _LAGS_MS[by_lag.argmin()]
            found = WordTimes(float(share), float(lead), float(lag))
    return found


def _meet(share: float, last: NDArray[np.float64], first: NDArray[np.float64]) -> NDArray[np.float64]:
    return last + share * (first - last)
