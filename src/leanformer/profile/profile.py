"""The cost meter: counts, a model of energy, and measurements, of one model or of two in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from leanformer.errors import ConfigError
from leanformer.profile.count import FRAME_MS, PRECISIONS, Counts, count
from leanformer.profile.energy import Energy, EnergyModel, energy
from leanformer.profile.graphs import Graphs, graphs_of
from leanformer.profile.latency import Latency, race, ratio
from leanformer.profile.machine import Machine, limit_ms, measure_machine
from leanformer.profile.nodes import shares, time_by_kind
from leanformer.profile.resident import peak_memory
from leanformer.profile.runner import Runner
from leanformer.profile.subject import Subject

SHIPPED = "int8"
"""The precision of single figures: it is what `leanformer export` makes and `transcribe` runs."""
DEFAULT_ROUNDS = 40


@dataclass(frozen=True)
class Measured:
    """What was timed, by precision: `time_shares` by kind of node, `peak_memory_bytes`, and the limit in ms."""

    latency: dict[str, Latency]
    time_shares: dict[str, dict[str, float]]
    peak_memory: dict[str, dict[str, int]]
    limit_ms: dict[str, float]


@dataclass(frozen=True)
class Profile:
    """All that is known of what a model costs, in chunks of `chunk_ms`."""

    name: str
    chunk_ms: float
    left_context: int
    counts: Counts
    energies: dict[str, Energy]
    energy_model: EnergyModel
    measured: Measured | None = None
    machine: Machine | None = None


@dataclass(frozen=True)
class Options:
    """How to profile; None means the subject's own. No rounds: count only."""

    chunk_ms: int | None = None
    left_context: int | None = None
    rounds: int = DEFAULT_ROUNDS
    energy: EnergyModel = field(default_factory=EnergyModel)


def profile(
    subjects: Sequence[Subject], options: Options = Options(), tell: Callable[[str], None] = lambda line: None
) -> list[Profile]:
    """Profile models at one chunk size, the first one's; their steps are timed in turn.

    Raises:
        ConfigError: the chunk is no whole number of a model's frames.
        ExportError: a model cannot be exported.
    """
    chunk_ms = options.chunk_ms or subjects[0].chunk_ms
    found = []
    for subject in subjects:
        check_chunk(subject, chunk_ms)
        left = subject.left_context if options.left_context is None else options.left_context
        counts = count(subject.config, chunk_ms, left)
        energies = {kind: energy(counts, kind, options.energy) for kind in PRECISIONS}
        found.append(Profile(subject.name, chunk_ms, left, counts, energies, options.energy))
    if options.rounds == 0:
        return found
    graphs = [
        graphs_of(subject, chunk_ms, one.left_context, tell)
        for subject, one in zip(subjects, found, strict=True)
    ]
    return _measure(found, graphs, options.rounds, tell)


def check_chunk(subject: Subject, chunk_ms: float) -> None:
    """Raise ConfigError if a chunk does not hold whole encoder frames."""
    frame_ms = FRAME_MS * subject.config.encoder.subsampling.factor
    if chunk_ms <= 0 or chunk_ms % frame_ms:
        raise ConfigError(
            f"chunk of {chunk_ms:g} ms: {subject.name} takes multiples of {frame_ms:g} ms; choose one of these"
        )


def latency_ratios(base: Profile, other: Profile) -> dict[str, float]:
    """How many times less time a chunk of `other` takes, by precision; empty if they were not timed in turn."""
    if base.measured is None or other.measured is None:
        return {}
    return {kind: ratio(base.measured.latency[kind], other.measured.latency[kind]) for kind in PRECISIONS}


def _measure(
    profiles: list[Profile], graphs: list[Graphs], rounds: int, tell: Callable[[str], None]
) -> list[Profile]:
    tell("measuring the machine")
    frames = round(profiles[0].chunk_ms / FRAME_MS)
    machine = measure_machine()
    tell(f"timing {rounds} chunks")
    runners = {
        f"{index}/{kind}": Runner(graph[kind], frames)
        for index, graph in enumerate(graphs)
        for kind in PRECISIONS
    }
    timed = race(runners, rounds)
    runners.clear()
    tell("timing nodes, and measuring memory")
    done = []
    for index, (one, graph) in enumerate(zip(profiles, graphs, strict=True)):
        measured = Measured(
            {kind: timed[f"{index}/{kind}"] for kind in PRECISIONS},
            {kind: shares(time_by_kind(graph[kind], frames)) for kind in PRECISIONS},
            {kind: peak_memory(graph[kind], frames) for kind in PRECISIONS},
            {kind: limit_ms(one.counts, kind, machine) for kind in PRECISIONS},
        )
        done.append(
            Profile(
                one.name,
                one.chunk_ms,
                one.left_context,
                one.counts,
                one.energies,
                one.energy_model,
                measured,
                machine,
            )
        )
    return done


def to_dict(profile: Profile) -> dict[str, Any]:
    """A profile for JSON. Figures without a precision are those of int8; the key `by_precision` has both."""
    counts, measured = profile.counts, profile.measured
    traffic = {kind: _traffic(counts, kind) for kind in PRECISIONS}
    return {
        "name": profile.name,
        "chunk_ms": profile.chunk_ms,
        "left_context_frames": profile.left_context,
        "parameters": counts.parameters,
        "weight_bytes": {kind: counts.weight_bytes(kind) for kind in PRECISIONS},
        "macs_per_second": counts.macs_per_second,
        "state_bytes": sum(counts.state_bytes.values()),
        "traffic_bytes_per_second": sum(traffic[SHIPPED].values()),
        "energy_mj_per_second": profile.energies[SHIPPED].total,
        "latency_ms": None
        if measured is None
        else {kind: one.to_dict() for kind, one in measured.latency.items()},
        "components": {name: _component(profile, name) for name in counts.work},
        "by_precision": {kind: _by_precision(profile, kind, traffic[kind]) for kind in PRECISIONS},
        "energy_model": vars(profile.energy_model),
        "machine": None if profile.machine is None else profile.machine.to_dict(),
    }


def _component(profile: Profile, name: str) -> dict[str, Any]:
    counts, work = profile.counts, profile.counts.work[name]
    spent = profile.energies[SHIPPED]
    state = counts.state_bytes.get(name, 0)
    read = sum(counts.weights[i].bytes(SHIPPED) for i in counts.reads if counts.weights[i].component == name)
    return {
        "parameters": sum(w.parameters for w in counts.weights if w.component == name),
        "weight_bytes": {kind: counts.weight_bytes(kind, name) for kind in PRECISIONS},
        "macs_per_second": counts.steps_per_second * work.macs,
        "state_bytes": state,
        "traffic_bytes_per_second": counts.steps_per_second * (read + work.activation_bytes + 2 * state),
        "energy_mj_per_second": spent.by_component[name],
        "energy_share": spent.by_component[name] / spent.total if spent.total else 0.0,
    }


def _traffic(counts: Counts, precision: str) -> dict[str, float]:
    """Bytes moved for a second of audio, by what they are."""
    per_step = {
        "weights": sum(counts.weights[index].bytes(precision) for index in counts.reads),
        "activations": sum(work.activation_bytes for work in counts.work.values()),
        "state": 2 * sum(counts.state_bytes.values()),
    }
    return {name: counts.steps_per_second * size for name, size in per_step.items()}


def _by_precision(profile: Profile, kind: str, traffic: dict[str, float]) -> dict[str, Any]:
    spent, measured = profile.energies[kind], profile.measured
    values: dict[str, Any] = {
        "traffic_bytes_per_second": traffic,
        "energy_mj_per_second": spent.total,
        "energy_by_cause": spent.by_cause,
        "weights_from_dram_share": spent.dram_share,
    }
    if measured is not None:
        p50 = measured.latency[kind].p50
        values |= {
            "real_time_factor": p50 / profile.chunk_ms,
            "time_shares": measured.time_shares[kind],
            "norm_and_activation_share": norm_and_activation(measured.time_shares[kind]),
            "peak_memory_bytes": measured.peak_memory[kind]["peak"],
            "peak_memory_before_loading_bytes": measured.peak_memory[kind]["before"],
            "machine_limit_ms": measured.limit_ms[kind],
            "share_of_machine_limit": measured.limit_ms[kind] / p50,
        }
    return values


def norm_and_activation(time_shares: dict[str, float]) -> float:
    """The share of time that normalisation and activation functions take; attention's softmax is neither."""
    return time_shares.get("normalisation", 0.0) + time_shares.get("activation", 0.0)
