"""The search: cost every design, keep those within the budget, find the Pareto set, choose."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from leanformer.design.cost import CostTable, capacity
from leanformer.design.space import Design
from leanformer.design.speed import SpeedModel
from leanformer.errors import DesignError
from leanformer.profile.count import Counts
from leanformer.profile.energy import EnergyModel, energy

_UNITS = {"mb": "MB", "ms": "ms a chunk", "mj": "mJ/s"}
_OPTIONS = {"mb": "--max-mb", "ms": "--max-ms-per-chunk", "mj": "--max-mj-per-second"}


@dataclass(frozen=True)
class Budget:
    """The most that a model may cost; None is no limit."""

    mb: float | None = None
    ms: float | None = None
    mj: float | None = None

    def limits(self) -> dict[str, float]:
        """The limits that there are."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{value:g} {_UNITS[name]}" for name, value in self.limits().items()) or "no limit"


@dataclass(frozen=True)
class Costed:
    """A design with what it costs: int8 weights in MB, modelled ms a chunk, modelled mJ for a second of audio."""

    design: Design
    counts: Counts
    capacity: float
    mb: float
    ms: float
    mj: float

    def excess(self, budget: Budget) -> float:
        """The largest ratio of a cost to its limit; at most 1 within the budget."""
        return max((getattr(self, name) / limit for name, limit in budget.limits().items()), default=0.0)


def cost_all(
    designs: Iterable[Design], table: CostTable, speed: SpeedModel, prices: EnergyModel
) -> list[Costed]:
    """The cost of each design."""
    found = []
    for design in designs:
        counts = table.counts(design)
        found.append(
            Costed(
                design,
                counts,
                capacity(counts),
                counts.weight_bytes("int8") / 1e6,
                speed.ms(counts),
                energy(counts, "int8", prices).total,
            )
        )
    return found


def rescaled(costed: Iterable[Costed], by: float) -> list[Costed]:
    """The same with times corrected by a factor that was measured."""
    return [replace(one, ms=one.ms * by) for one in costed]


def within(costed: Sequence[Costed], budget: Budget) -> list[Costed]:
    """Those within a budget.

    Raises:
        DesignError: none is; the message says what the nearest would need.
    """
    found = [one for one in costed if one.excess(budget) <= 1.0]
    if not found:
        nearest = min(costed, key=lambda one: one.excess(budget))
        needs = ", ".join(
            f"{_OPTIONS[name]} {getattr(nearest, name):.3g}"
            for name, limit in budget.limits().items()
            if getattr(nearest, name) > limit
        )
        raise DesignError(
            f"nothing in the search space keeps to {budget}; the nearest ({nearest.design}) needs {needs}"
        )
    return found


def pareto(costed: Iterable[Costed], costs: Collection[str] = ("mb", "ms", "mj")) -> list[Costed]:
    """Those that no other beats: none has as much capacity at no more of any of the `costs`. Largest capacity first."""
    front: list[Costed] = []
    for one in sorted(costed, key=lambda one: (-one.capacity, one.ms, one.mb, one.mj)):
        if not any(all(getattr(other, name) <= getattr(one, name) for name in costs) for other in front):
            front.append(one)
    return front


def spread(front: Sequence[Costed], count: int) -> list[Costed]:
    """At most `count` of a front, evenly over it, with both ends."""
    if len(front) <= count:
        return list(front)
    return [front[round(place * (len(front) - 1) / (count - 1))] for place in range(count)]
