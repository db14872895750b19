"""What the first pass of a bundle costs at each of its depths: time measured in turns, energy modelled."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from leanformer.profile.count import FRAME_MS
from leanformer.profile.energy import EnergyModel
from leanformer.profile.latency import race
from leanformer.profile.passes import passes_of
from leanformer.profile.runner import Runner
from leanformer.profile.subject import Subject, find_subject

ROUNDS = 40
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Cost:
    """Median milliseconds of a step on one thread, and modelled mJ for a second of audio; of the first pass."""

    step_ms: float
    energy_mj: float


def costs_at_depths(
    bundle: str, depths: Sequence[int], precision: str, chunk_ms: float, rounds: int = ROUNDS
) -> dict[int, Cost]:
    """The cost of the first pass at each depth; all take turns, step by step, so that ratios hold on a busy machine.

    Args:
        bundle: its folder, or "default".
        depths: of those that it was exported for.
        precision: of the graphs, "int8" or "fp32".
        chunk_ms: milliseconds of a chunk.
        rounds: steps of each depth to time.

    Raises:
        ConfigError: the bundle does not run at one of the depths.
    """
    return costs_in_turns(
        {depth: find_subject(bundle, depth) for depth in depths}, precision, chunk_ms, rounds
    )


def costs_in_turns(
    subjects: Mapping[_Key, Subject], precision: str, chunk_ms: float, rounds: int = ROUNDS
) -> dict[_Key, Cost]:
    """The cost of the first pass of several models, which need not be of one bundle; all take turns, step by step.

    Args:
        subjects: models that have graphs.
        precision: of the graphs, "int8" or "fp32".
        chunk_ms: milliseconds of a chunk.
        rounds: steps of each to time.
    """
    frames = round(chunk_ms / FRAME_MS)
    runners = {key: Runner(str(one.graphs[0][precision]), frames) for key, one in subjects.items()}
    times = race(runners, rounds)
    costs = {}
    for key, subject in subjects.items():
        config = subject.config.model_copy(update={"second": None})
        (first,) = passes_of(config, chunk_ms, subject.left_context, EnergyModel())
        costs[key] = Cost(times[key].p50, first.energies[precision].total)
    return costs
