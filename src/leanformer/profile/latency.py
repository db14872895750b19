"""Time a chunk takes, several models in turn: what else the machine does then falls on all of them alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from leanformer.profile.runner import Runner

WARM_UP = 3
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Latency:
    """Milliseconds a chunk of each turn, in the order of turns."""

    turns: tuple[float, ...]

    @property
    def p50(self) -> float:
        """The median."""
        return float(np.percentile(self.turns, 50))

    @property
    def p95(self) -> float:
        """What 19 of 20 chunks stay below."""
        return float(np.percentile(self.turns, 95))

    @property
    def undisturbed(self) -> float:
        """The 10th percentile: what a chunk takes while nothing else runs, even if something often does."""
        return float(np.percentile(self.turns, 10))

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return {"p50": round(self.p50, 4), "p95": round(self.p95, 4)}


def race(runners: Mapping[_Key, Runner], rounds: int) -> dict[_Key, Latency]:
    """Let all run one chunk after the other, `rounds` times, after a warm-up that does not count."""
    turns: dict[_Key, list[float]] = {name: [] for name in runners}
    for turn in range(-WARM_UP, rounds):
        for name, runner in runners.items():
            taken = runner.step()
            if turn >= 0:
                turns[name].append(taken)
    return {name: Latency(tuple(taken)) for name, taken in turns.items()}


def ratio(slower: Latency, faster: Latency) -> float:
    """How many times faster the second is: the median over the turns of their ratio, turn by turn."""
    return median([a / b for a, b in zip(slower.turns, faster.turns, strict=True)])


def median(values: Sequence[float]) -> float:
    """The median of some numbers."""
    return float(np.median(values))
