"""Modelled energy, as is usual where power cannot be measured: bytes moved and multiply-accumulates, each at a price.

    E = sum over weights read of bytes x pJ/B of the memory they come from
      + (activations moved + state read and written) x pJ/B + MACs x pJ/MAC

Default prices are those of Horowitz (2014, ISSCC, 45 nm). They belong to no machine of today: compare models by
them, and state no watts. Where weights come from is decided by a simulated on-chip memory of `sram_bytes`: state
stays there if all of it fits, weights get the rest, the least recently used one leaves first. So a model that fits is
read from memory once and for all, a shared block that fits is read from there once a chunk, and any other
weight each time. The passes of a cascade share that memory.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice

from leanformer.errors import ConfigError
from leanformer.profile.count import Counts
from leanformer.profile.meter import Work

_PJ_TO_MJ = 1e-9


@dataclass(frozen=True)
class EnergyModel:
    """Prices in picojoules, and the size of the on-chip memory. Raises ConfigError for a negative number."""

    dram_pj_per_byte: float = 160.0
    sram_pj_per_byte: float = 1.25
    int8_mac_pj: float = 0.23
    fp32_mac_pj: float = 4.6
    sram_bytes: float = 8 << 20
    """As much as Google's Edge TPU has; a choice of ours."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value >= 0:
                raise ConfigError(f"energy: {name} = {value}: it must not be negative")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the constants."""
        return tuple(one.name for one in fields(cls))


@dataclass(frozen=True)
class Energy:
    """mJ for a second of audio, by component and by cause; `dram_share` is that of the bytes of weights read."""

    by_component: dict[str, float]
    by_cause: dict[str, float]
    dram_share: float

    @property
    def total(self) -> float:
        """mJ for a second of audio."""
        return sum(self.by_component.values())


def energy(counts: Counts, precision: str, model: EnergyModel) -> Energy:
    """The modelled energy of a pass that runs alone, in one precision."""
    return energies((counts,), precision, model)[0]


def energies(passes: Sequence[Counts], precision: str, model: EnergyModel) -> list[Energy]:
    """The modelled energy of each of several passes, which share the on-chip memory and push one another out of it."""
    state = sum(sum(one.state_bytes.values()) for one in passes)
    on_chip = state <= model.sram_bytes
    turns = turns_of([one.chunk_ms for one in passes])
    missed = _missed(passes, turns, precision, model.sram_bytes - (state if on_chip else 0))
    state_price = model.sram_pj_per_byte if on_chip else model.dram_pj_per_byte
    return [_energy(one, missed[index], state_price, precision, model) for index, one in enumerate(passes)]


def turns_of(periods_ms: Sequence[float]) -> list[int]:
    """Whose turn it is, step after step, until all are due at once: the place of each step's period."""
    whole = [round(period) for period in periods_ms]
    end = math.lcm(*whole)
    due = ((when, place) for place, period in enumerate(whole) for when in range(period, end + 1, period))
    return [place for _, place in sorted(due)]


def _missed(
    passes: Sequence[Counts], turns: Sequence[int], precision: str, room: float
) -> list[list[list[bool]]]:
    """For each pass and each of its turns, which reads find their weight not in a memory of `room` bytes."""
    sizes = [weight.bytes(precision) for one in passes for weight in one.weights]
    starts = [sum(len(one.weights) for one in passes[:place]) for place in range(len(passes))]
    reads = tuple(starts[turn] + read for turn in turns for read in passes[turn].reads)
    found = iter(misses(sizes, reads, room))
    missed: list[list[list[bool]]] = [[] for _ in passes]
    for turn in turns:
        missed[turn].append(list(islice(found, len(passes[turn].reads))))
    return missed


def _energy(
    counts: Counts, missed: list[list[bool]], state_price: float, precision: str, model: EnergyModel
) -> Energy:
    causes = dict.fromkeys(("weights_dram", "weights_sram", "activations", "state", "macs"), 0.0)
    components = dict.fromkeys(counts.work, 0.0)

    def spend(component: str, cause: str, picojoules: float) -> None:
        millijoules = picojoules * _PJ_TO_MJ * counts.steps_per_second
        components[component] += millijoules
        causes[cause] += millijoules

    read = {True: 0, False: 0}
    for turn in missed:
        for index, miss in zip(counts.reads, turn, strict=True):
            weight = counts.weights[index]
            size = weight.bytes(precision)
            read[miss] += size
            price = model.dram_pj_per_byte if miss else model.sram_pj_per_byte
            spend(weight.component, "weights_dram" if miss else "weights_sram", size * price / len(missed))
    for name, work in counts.work.items():
        spend(name, "activations", work.activation_bytes * model.sram_pj_per_byte)
        spend(name, "macs", _mac_energy(work, precision, model))
    for name, size in counts.state_bytes.items():
        spend(name, "state", 2 * size * state_price)
    return Energy(components, causes, read[True] / max(1, sum(read.values())))


def misses(sizes: list[int], reads: tuple[int, ...], room: float) -> list[bool]:
    """Which reads of one step find their tensor not in a memory of `room` bytes, once many such steps have passed.

    The least recently used tensor leaves first; one that is larger than the memory never enters.
    """
    held: OrderedDict[int, int] = OrderedDict()
    used = 0
    missed: list[bool] = []
    for index in (*reads, *reads):  # what the first round leaves behind is what every later one does
        size = sizes[index]
        missed.append(index not in held)
        if size > room:
            continue
        used += size - held.pop(index, 0)
        held[index] = size
        while used > room:
            used -= held.popitem(last=False)[1]
    return missed[len(reads) :]


def _mac_energy(work: Work, precision: str, model: EnergyModel) -> float:
    """Products of two activations, and convolutions, stay float32 in the int8 graph."""
    linear = model.int8_mac_pj if precision == "int8" else model.fp32_mac_pj
    return work.linear_macs * linear + work.other_macs * model.fp32_mac_pj
