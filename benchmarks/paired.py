"""Rates of error with intervals, and the difference of two that were counted on the same clips.

Both intervals are bootstraps over speakers (`leanformer.evaluate.interval`). In a difference both sides are drawn with
the same speakers, so what makes a speaker hard for all does not widen it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leanformer.evaluate.interval import bootstrap_interval

RESAMPLES = 10_000


@dataclass(frozen=True)
class Counted:
    """Errors of each clip among so many words, characters or frames; clips of a unit are drawn together: (U,) each."""

    wrong: NDArray[np.int64]
    total: NDArray[np.int64]
    units: NDArray[np.int64]

    @classmethod
    def of(cls, wrong: ArrayLike, total: ArrayLike, units: ArrayLike) -> Counted:
        return cls(*(np.asarray(one, np.int64) for one in (wrong, total, units)))

    @property
    def rate(self) -> float:
        """Errors in %."""
        return 100 * float(self.wrong.sum() / self.total.sum())

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of `rate`; None for fewer than two units."""
        found = bootstrap_interval(self.wrong, self.total, self.units)
        return None if found is None else (100 * found[0], 100 * found[1])

    @property
    def complement(self) -> Counted:
        """What was right, in place of what was wrong."""
        return Counted(self.total - self.wrong, self.total, self.units)


def difference(one: Counted, base: Counted) -> tuple[float, float, float]:
    """The rate of `one` less that of `base`, in points, and the ends of its 95 % interval."""
    assert np.array_equal(one.total, base.total), "the two did not hear the same clips"
    wrong = np.bincount(one.units, one.wrong - base.wrong)
    total = np.bincount(one.units, one.total)
    wrong, total = wrong[total > 0], total[total > 0]
    drawn = np.random.default_rng(0).integers(len(total), size=(RESAMPLES, len(total)))
    low, high = np.quantile(wrong[drawn].sum(axis=1) / total[drawn].sum(axis=1), [0.025, 0.975])
    return 100 * float(wrong.sum() / total.sum()), 100 * float(low), 100 * float(high)


def with_interval(one: Counted) -> str:
    """A rate and its interval in a cell of a table."""
    ends = one.interval
    return f"{one.rate:.1f}" if ends is None else f"{one.rate:.1f} ({ends[0]:.1f}-{ends[1]:.1f})"


def gap(one: Counted, base: Counted) -> str:
    """A difference and its interval in a cell of a table."""
    apart, low, high = difference(one, base)
    return f"{apart:+.1f} ({low:+.1f} to {high:+.1f})"
