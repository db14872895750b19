"""What graphs take on this machine: time, where it goes, memory, and the machine's limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from leanformer.profile.count import PRECISIONS, Counts
from leanformer.profile.graphs import Graphs
from leanformer.profile.latency import Latency, race
from leanformer.profile.machine import Machine, limit_ms
from leanformer.profile.nodes import shares, time_by_kind
from leanformer.profile.resident import peak_memory
from leanformer.profile.runner import Runner

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Timed:
    """A graph in both precisions that is to be timed, `frames` in a step, and what a step of it was counted to do."""

    graphs: Graphs
    frames: int
    counts: Counts


@dataclass(frozen=True)
class Measured:
    """What was timed, by precision: `time_shares` by kind of node, `peak_memory` in bytes, and the limit in ms."""

    latency: dict[str, Latency]
    time_shares: dict[str, dict[str, float]]
    peak_memory: dict[str, dict[str, int]]
    limit_ms: dict[str, float]


def race_all(timed: Mapping[_Key, Timed], rounds: int) -> dict[_Key, dict[str, Latency]]:
    """The time a step takes of each, by precision; all take turns, step by step."""
    runners = {
        (key, kind): Runner(one.graphs[kind], one.frames) for key, one in timed.items() for kind in PRECISIONS
    }
    found = race(runners, rounds)
    return {key: {kind: found[key, kind] for kind in PRECISIONS} for key in timed}


def measure(one: Timed, latency: dict[str, Latency], machine: Machine) -> Measured:
    """All that is measured of a graph besides its time, which is known."""
    return Measured(
        latency,
        {kind: shares(time_by_kind(one.graphs[kind], one.frames)) for kind in PRECISIONS},
        peak_memory_of(one),
        {kind: limit_ms(one.counts, kind, machine) for kind in PRECISIONS},
    )


def peak_memory_of(*together: Timed) -> dict[str, dict[str, int]]:
    """Peak memory of one graph, or of several in one process, by precision."""
    return {kind: peak_memory(*((one.graphs[kind], one.frames) for one in together)) for kind in PRECISIONS}
