"""What a design costs, composed of the counts of its parts: each different block is counted once, alone.

A model's counts are its front end, its blocks in the order in which they run, and its output. So thousands of
designs need a few hundred runs of one block, not thousands of whole models.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache

from leanformer.design.space import Design
from leanformer.profile.count import Counts, Weight, count
from leanformer.profile.meter import Work

_ENDS = ("front_end", "output")


@dataclass(frozen=True)
class Part:
    """A stretch of a model: what it stores, in which order it reads that, and what it does."""

    weights: tuple[Weight, ...]
    reads: tuple[int, ...]
    work: dict[str, Work]
    state_bytes: dict[str, int]


class CostTable:
    """Counts of designs in chunks of `chunk_ms`."""

    def __init__(self, chunk_ms: float, left_context: int, vocabulary_size: int) -> None:
        self._chunk_ms = chunk_ms
        self._left_context = left_context
        self._vocabulary_size = vocabulary_size
        self._alone = cache(self._count_alone)

    def counts(self, design: Design) -> Counts:
        """As `profile.count.count` of the design's config, but for a counter of 4 bytes that softmax layers share."""
        blocks = design.depth // design.runs
        local = design.local_layers // design.runs
        weights: list[Weight] = []
        reads: list[int] = []
        work: dict[str, Work] = defaultdict(Work)
        state: dict[str, int] = defaultdict(int)

        def add(part: Part, name: str, runs: int) -> None:
            shift = len(weights)
            weights.extend(replace(one, name=f"{name}.{one.name}") for one in part.weights)
            reads.extend((shift + index for index in part.reads) if runs == 1 else
                         [shift + index for _ in range(runs) for index in part.reads])  # fmt: skip
            for component, done in part.work.items():
                work[component] = _sum(work[component], done, runs)
            for component, size in part.state_bytes.items():
                state[component] += runs * size

        front, inner, output = self._alone(_single(design), False)
        add(front, "front", 1)
        for index in range(blocks):
            _, block, _ = self._alone(_single(design), True) if index < local else (None, inner, None)
            add(block, str(index), design.runs)
        add(output, "output", 1)
        return Counts(self._chunk_ms, tuple(weights), tuple(reads), dict(work), dict(state))

    def _count_alone(self, design: Design, local: bool) -> tuple[Part, Part, Part]:
        """Front end, block and output of a model of one block."""
        config = design.config(self._vocabulary_size)
        block = design.block(local)
        encoder = config.encoder.model_validate(
            {**dict(config.encoder), "blocks": (block,), "layer_map": (0,), "exits": ()}
        )
        counts = count(config.model_copy(update={"encoder": encoder}), self._chunk_ms, self._left_context)
        front = _part(counts, ("front_end",))
        output = _part(counts, ("output",))
        return front, _part(counts, tuple(name for name in counts.work if name not in _ENDS)), output


def capacity(counts: Counts) -> float:
    """The capacity measure: the geometric mean of a model's parameters and its multiply-accumulates for a frame.

    Of the layers only, not the front end and the output. For a plain Conformer both numbers are nearly equal, so
    this is its number of parameters; sharing multiplies the second alone, and folding divides the first by more
    than the second. It knows nothing of what attention is good for. See docs/design-search.md.
    """
    inner = [name for name in counts.work if name not in _ENDS]
    parameters = sum(weight.parameters for weight in counts.weights if weight.component in inner)
    frames = counts.chunk_ms / 40.0
    macs = sum(counts.work[name].linear_macs for name in inner) / frames
    return float((parameters * macs) ** 0.5)


def _single(design: Design) -> Design:
    """What a block depends on, and nothing else."""
    return replace(design, depth=2, runs=1, local_thirds=0)


def _part(counts: Counts, components: tuple[str, ...]) -> Part:
    kept = [index for index, weight in enumerate(counts.weights) if weight.component in components]
    place = {index: new for new, index in enumerate(kept)}
    return Part(
        tuple(counts.weights[index] for index in kept),
        tuple(place[index] for index in counts.reads if index in place),
        {name: work for name, work in counts.work.items() if name in components},
        {name: size for name, size in counts.state_bytes.items() if name in components},
    )


def _sum(work: Work, more: Work, times: int) -> Work:
    return Work(
        work.linear_macs + times * more.linear_macs,
        work.other_macs + times * more.other_macs,
        work.activation_bytes + times * more.activation_bytes,
        work.operations + times * more.operations,
    )
