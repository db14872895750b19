"""Emission latency of a corpus: percentiles over all words that were recognised right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from leanformer.evaluate.latency import Measured


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds: the median and the 95th percentile; None without words."""

    p50: float | None
    p95: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Percentiles:
        """Those of some values, linearly interpolated, to a tenth of a millisecond."""
        if not values:
            return cls(None, None)
        low, high = np.percentile(values, [50, 95]).round(1)
        return cls(float(low), float(high))


@dataclass(frozen=True, slots=True)
class Moments:
    """From a word's end until it first came, and until it was final (`emission.py`)."""

    first_ms: Percentiles
    final_ms: Percentiles


@dataclass(frozen=True, slots=True)
class Latency:
    """The delays of `words` right words; of `skipped` more, the end is not known.

    `first_ms` and `final_ms` count audio alone; `with_processing` adds the time that this machine took.
    """

    words: int
    skipped: int
    first_ms: Percentiles
    final_ms: Percentiles
    with_processing: Moments

    @classmethod
    def of(cls, measured: Iterable[Measured]) -> Latency:
        """Sum up some clips."""
        clips = list(measured)
        words = [delay for clip in clips for delay in clip.delays]
        return cls(
            words=len(words),
            skipped=sum(clip.skipped for clip in clips),
            first_ms=Percentiles.of([word.first for word in words]),
            final_ms=Percentiles.of([word.final for word in words]),
            with_processing=Moments(
                first_ms=Percentiles.of([word.first_done for word in words]),
                final_ms=Percentiles.of([word.final_done for word in words]),
            ),
        )
