"""How far the times of words are from a forced alignment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from leanformer.evaluate.evaluate import Scored
from leanformer.evaluate.judge import judge
from leanformer.evaluate.word_ends import Spans


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds: `median` of the errors, late is positive; `p50` and `p95` of their sizes. None without words."""

    median: float | None
    p50: float | None
    p95: float | None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """That of some errors in seconds, to a tenth of a millisecond."""
        if not seconds:
            return cls(None, None, None)
        errors = 1000 * np.asarray(seconds)
        p50, p95 = np.percentile(np.abs(errors), [50, 95])
        return cls(*(round(float(value), 1) for value in (np.median(errors), p50, p95)))


@dataclass(frozen=True, slots=True)
class TimeErrors:
    """Of `words` words that were recognised right; of `skipped` more it is not known when they were spoken."""

    words: int
    skipped: int
    start_ms: Spread
    end_ms: Spread

    @classmethod
    def of(cls, scored: Iterable[Scored], spans: Spans) -> TimeErrors:
        """Sum up some clips; `spans` as of `word_ends.read_spans`."""
        starts, ends, skipped = list[float](), list[float](), 0
        for one in scored:
            known = spans.get(one.clip.name)
            for word in judge(one.clip.utterance.text, one.words):
                if word.place is None:
                    continue
                if known is None:
                    skipped += 1
                    continue
                start, end = known[word.place]
                starts.append(word.heard.start - start)
                ends.append(word.heard.end - end)
        return cls(len(starts), skipped, Spread.of(starts), Spread.of(ends))
