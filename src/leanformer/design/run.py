"""From a budget to a recipe: calibrate, search, choose, and measure what was chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from leanformer.config import Frozen, ModelConfig
from leanformer.config_toml import to_toml
from leanformer.design.cost import CostTable
from leanformer.design.search import Budget, Costed, cost_all, pareto, rescaled, within
from leanformer.design.space import Design, designs
from leanformer.design.speed import ROUNDS, calibrate, int8_graph
from leanformer.errors import DesignError
from leanformer.profile.count import FRAME_MS
from leanformer.profile.energy import EnergyModel
from leanformer.profile.latency import Latency, race
from leanformer.profile.runner import Runner

VOCABULARY_SIZE = 256
ATTEMPTS = 3
"""Designs that are measured at most; after each that is too slow, the model of latency is corrected by it."""


PRECISE_ENOUGH = 0.9
"""A design whose measured time is at least this share of the modelled one ends the search."""


@dataclass(frozen=True)
class Found:
    """The Pareto set within the budget, by the costs that it limits; the chosen design, and what was measured of it."""

    costed: list[Costed]
    front: list[Costed]
    chosen: Costed
    latency: Latency


class _Written(Frozen):
    """What a designed recipe says."""

    name: str
    model: ModelConfig


def search(
    budget: Budget,
    chunk_ms: float,
    left_context: int,
    prices: EnergyModel,
    tell: Callable[[str], None] = lambda line: None,
) -> Found:
    """Find the design of most capacity within a budget, by the cost meter; nothing is trained.

    The chosen design is measured. If it takes longer than it may, or much less than the model said, the model is
    corrected by that, and the choice made anew.

    Raises:
        DesignError: nothing keeps to the budget, as modelled or as measured.
    """
    table = CostTable(chunk_ms, left_context, VOCABULARY_SIZE)
    speed = calibrate(table, chunk_ms, left_context, VOCABULARY_SIZE, tell)
    tell("costing the search space")
    costed = cost_all(designs(), table, speed, prices)
    best: Found | None = None
    measured: set[Design] = set()
    for _ in range(ATTEMPTS):
        front = pareto(within(costed, budget), budget.limits())
        chosen = front[0]
        if chosen.design in measured:
            break
        tell(f"measuring {chosen.design}")
        latency = measure(chosen.design, chunk_ms, left_context)
        measured.add(chosen.design)
        fits = budget.ms is None or latency.p50 <= budget.ms
        if fits and (best is None or chosen.capacity > best.chosen.capacity):
            best = Found(costed, front, chosen, latency)
        if budget.ms is None or (fits and latency.undisturbed >= PRECISE_ENOUGH * chosen.ms):
            break
        tell(f"it takes {latency.p50:.2f} ms, modelled were {chosen.ms:.2f}; correcting the model")
        costed = rescaled(costed, (latency.undisturbed if fits else latency.p50) / chosen.ms)
    if best is None:
        raise DesignError(
            f"the budget is {budget}, but {len(measured)} designs took longer when they were measured, the last one "
            f"{latency.p50:.3g} ms; the machine may be busy: try again, or raise --max-ms-per-chunk"
        )
    return best


def measure(design: Design, chunk_ms: float, left_context: int) -> Latency:
    """Time a design in int8, with random weights."""
    graph = int8_graph(design, chunk_ms, left_context, VOCABULARY_SIZE)
    return race({"it": Runner(graph, round(chunk_ms / FRAME_MS))}, ROUNDS)["it"]


def recipe_text(found: Found, name: str, budget: Budget, chunk_ms: float) -> str:
    """The chosen model as a recipe for `leanformer train`."""
    one = found.chosen
    head = (
        f"# By `leanformer design` for {budget}: {one.design}.\n"
        f"# In int8: {one.mb:.2f} MB, {found.latency.p50:.2f} ms a chunk of {chunk_ms:g} ms as measured, "
        f"{one.mj:.3f} mJ/s as modelled.\n"
    )
    return head + to_toml(_Written(name=name, model=one.design.config(VOCABULARY_SIZE)))
