"""A model of latency, fitted once to a few small models that are measured on this machine.

    ms = a + b * int8 MACs + c * bytes of activations + d * operations + bytes beyond the cache / memory rate

It is a model, of an undisturbed machine. Of designs that it was not fitted to it was wrong by a few per cent where
that was tried; what a search chooses is measured all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leanformer.design.cost import CostTable
from leanformer.design.space import Design
from leanformer.profile.count import FRAME_MS, Counts
from leanformer.profile.graphs import export_random
from leanformer.profile.latency import race
from leanformer.profile.machine import Machine, measure_machine
from leanformer.profile.runner import Runner
from leanformer.profile.subject import Subject

ROUNDS = 30
SAMPLES = (
    Design(64, 2, 2, 0, "softmax", 1, 1, "layer"),
    Design(256, 4, 4, 1, "performer", 2, 1, "batch"),
    Design(384, 2, 2, 0, "softmax", 1, 1, "batch"),
    Design(128, 4, 4, 0, "performer", 1, 1, "layer"),
    Design(512, 3, 4, 2, "softmax", 1, 1, "layer"),
)
"""Designs that differ in every way; few layers are enough, as layers add up."""


@dataclass(frozen=True)
class SpeedModel:
    """`coefficients` (4,), none negative, for `features`."""

    coefficients: tuple[float, ...]
    machine: Machine

    def ms(self, counts: Counts) -> float:
        """Modelled milliseconds a chunk in int8."""
        size = counts.weight_bytes("int8")
        beyond = max(0.0, size - self.machine.cache_bytes) / self.machine.memory_bytes_per_second
        return float(features(counts) @ np.array(self.coefficients)) + 1000.0 * beyond


def features(counts: Counts) -> NDArray[np.float64]:
    """(4,): one, millions of int8 MACs, megabytes of activations, and operations, of a step."""
    work = counts.work.values()
    return np.array(
        [
            1.0,
            sum(one.linear_macs for one in work) / 1e6,
            sum(one.activation_bytes for one in work) / 1e6,
            float(sum(one.operations for one in work)),
        ]
    )


def calibrate(
    table: CostTable, chunk_ms: float, left_context: int, vocabulary_size: int, tell: Callable[[str], None]
) -> SpeedModel:
    """Measure the machine and the samples, and fit the model to them."""
    tell(f"measuring {len(SAMPLES)} small models, to learn this machine's speed")
    machine = measure_machine()
    frames = round(chunk_ms / FRAME_MS)
    runners = {
        str(index): Runner(int8_graph(sample, chunk_ms, left_context, vocabulary_size), frames)
        for index, sample in enumerate(SAMPLES)
    }
    timed = race(runners, ROUNDS)
    counts = [table.counts(sample) for sample in SAMPLES]
    times = [one.undisturbed for one in timed.values()]
    return SpeedModel(fit([features(one) for one in counts], times), machine)


def int8_graph(design: Design, chunk_ms: float, left_context: int, vocabulary_size: int) -> bytes:
    """The streaming step of a design with random weights."""
    subject = Subject(str(design), design.config(vocabulary_size))  # which is fused
    return export_random(subject.config, chunk_ms, left_context)["int8"]


def fit(rows: Sequence[NDArray[np.float64]], times: Sequence[float]) -> tuple[float, ...]:
    """Coefficients, none negative, with the least sum of squared relative errors.

    By leaving out, one after the other, what would become negative: with four coefficients that is enough.
    """
    matrix = np.array(rows) / np.array(times)[:, None]
    kept = list(range(matrix.shape[1]))
    while True:
        solution = np.linalg.lstsq(matrix[:, kept], np.ones(len(times)), rcond=None)[0]
        if (solution >= 0).all() or len(kept) == 1:
            break
        kept.pop(int(solution.argmin()))
    coefficients = np.zeros(matrix.shape[1])
    coefficients[kept] = np.maximum(solution, 0.0)
    return tuple(float(value) for value in coefficients)
