"""The cost meter: counts, a model of energy, and measurements, of one model or of two in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from leanformer.errors import ConfigError
from leanformer.profile.count import FRAME_MS, PRECISIONS
from leanformer.profile.energy import EnergyModel
from leanformer.profile.graphs import graphs_of
from leanformer.profile.latency import ratio
from leanformer.profile.machine import Machine, measure_machine
from leanformer.profile.measure import Timed, measure, peak_memory_of, race_all
from leanformer.profile.passes import Pass, passes_of
from leanformer.profile.subject import Subject

DEFAULT_ROUNDS = 40


@dataclass(frozen=True)
class Profile:
    """All that is known of what a model costs: its passes, of which the first runs in chunks of `chunk_ms`.

    `peak_memory` by precision is that of all passes in one process.
    """

    name: str
    chunk_ms: float
    left_context: int
    passes: tuple[Pass, ...]
    energy_model: EnergyModel
    peak_memory: dict[str, dict[str, int]] = field(default_factory=dict)
    machine: Machine | None = None

    @property
    def first(self) -> Pass:
        """The pass whose words come at once."""
        return self.passes[0]


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
        passes = passes_of(subject.config, chunk_ms, left, options.energy)
        found.append(Profile(subject.name, chunk_ms, left, passes, options.energy))
    if options.rounds == 0:
        return found
    return _measure(found, subjects, options.rounds, tell)


def check_chunk(subject: Subject, chunk_ms: float) -> None:
    """Raise ConfigError if a chunk does not hold whole encoder frames."""
    frame_ms = FRAME_MS * subject.config.encoder.subsampling.factor
    if chunk_ms <= 0 or chunk_ms % frame_ms:
        raise ConfigError(
            f"chunk of {chunk_ms:g} ms: {subject.name} takes multiples of {frame_ms:g} ms; choose one of these"
        )


def latency_ratios(base: Profile, other: Profile) -> dict[str, float]:
    """How many times less time the first pass of `other` takes, by precision; empty if they were not timed in turn."""
    before, after = base.first.measured, other.first.measured
    if before is None or after is None:
        return {}
    return {kind: ratio(before.latency[kind], after.latency[kind]) for kind in PRECISIONS}


def _measure(
    profiles: list[Profile], subjects: Sequence[Subject], rounds: int, tell: Callable[[str], None]
) -> list[Profile]:
    timed = {
        (place, one.name): Timed(graphs, one.step_frames, one.counts)
        for place, (profile, subject) in enumerate(zip(profiles, subjects, strict=True))
        for one, graphs in zip(
            profile.passes, graphs_of(subject, profile.chunk_ms, profile.left_context, tell), strict=True
        )
    }
    tell("measuring the machine")
    machine = measure_machine()
    tell(f"timing {rounds} chunks")
    latency = race_all(timed, rounds)
    tell("timing nodes, and measuring memory")
    done = []
    for place, profile in enumerate(profiles):
        passes = tuple(
            replace(one, measured=measure(timed[place, one.name], latency[place, one.name], machine))
            for one in profile.passes
        )
        memory = peak_memory_of(*(timed[place, one.name] for one in passes))
        done.append(replace(profile, passes=passes, peak_memory=memory, machine=machine))
    return done
