"""The passes of a model, each counted apart: what a step takes, how often it comes, and how late its words are."""

from __future__ import annotations

import math
from dataclasses import dataclass

from leanformer.config import ModelConfig
from leanformer.profile.count import FRAME_MS, PRECISIONS, Counts, count_first, count_second, counted_model
from leanformer.profile.energy import Energy, EnergyModel, energies
from leanformer.profile.measure import Measured

FIRST, SECOND = "first", "second"


@dataclass(frozen=True)
class Pass:
    """One pass: `step_frames` are those that its graph is given in a step.

    From the first frame of one of its chunks to the step that gives it pass at most `latency_frames` of the encoder.
    """

    name: str
    counts: Counts
    left_context: int
    step_frames: int
    latency_frames: int
    delay_ms: float
    energies: dict[str, Energy]
    measured: Measured | None = None


def passes_of(
    config: ModelConfig, chunk_ms: float, left_context: int, prices: EnergyModel
) -> tuple[Pass, ...]:
    """The passes of a model whose first runs in chunks of `chunk_ms`."""
    model, second = counted_model(config), config.second
    frame_ms = FRAME_MS * config.encoder.subsampling.factor
    chunk = round(chunk_ms / frame_ms)
    counts = [count_first(model, chunk_ms, left_context)]
    when = [(FIRST, left_context, round(chunk_ms / FRAME_MS), chunk)]
    if second is not None:
        late = latency_frames(chunk, second.chunk_size, second.lookahead)
        counts.append(count_second(model))
        when.append((SECOND, second.left_context, second.chunk_size + second.lookahead, late))
    spent = {kind: energies(counts, kind, prices) for kind in PRECISIONS}
    return tuple(
        Pass(name, one, left, step, late, late * frame_ms, {kind: spent[kind][place] for kind in PRECISIONS})
        for place, (one, (name, left, step, late)) in enumerate(zip(counts, when, strict=True))
    )


def latency_frames(given: int, chunk: int, lookahead: int) -> int:
    """How many frames come, at most, from the first of a chunk until all that it needs is there.

    Frames come `given` at once, and a chunk needs `lookahead` more than its own.
    """
    starts = range(0, math.lcm(given, chunk), chunk)
    return max(math.ceil((start + chunk + lookahead) / given) * given - start for start in starts)
