"""Which utterances make which batch: a pure function of lengths, seed and epoch.

So batch k of epoch e is the same on any machine, after any restart, without replaying what came before.

Padded lengths come from a small fixed set (the buckets), since every new shape costs a CPU trainer dearly.
The set is the one that minimises padding over all utterances and speeds, found by dynamic programming on a
grid. A bucket has a fixed number of rows; what does not fill a batch moves up to the next larger bucket, and
the rows still free in the very last batch stay empty.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from leanformer.config_types import NotNegative, NotNegativeInt, Positive, PositiveInt

SAMPLE_RATE = 16000
EMPTY = -1


@dataclass(frozen=True)
class BatchConfig:
    """How batches are made.

    Attributes:
        batch_seconds: padded audio seconds in a batch, at most (but a batch has at least one row).
        schedule: (epoch, seconds) pairs in order: from that epoch on, this many seconds instead.
        buckets: number of padded lengths, at most.
        grid_seconds: padded lengths are multiples of this.
        min_seconds, max_seconds: utterances outside, at speed 1, are left out.
    """

    batch_seconds: Positive = 64.0
    schedule: tuple[tuple[NotNegativeInt, Positive], ...] = ()
    buckets: PositiveInt = 8
    grid_seconds: Positive = 0.32
    min_seconds: NotNegative = 0.1
    max_seconds: Positive = 36.0

    def seconds_at(self, epoch: int) -> float:
        """Return the batch size, in seconds, of an epoch."""
        return next((s for start, s in reversed(self.schedule) if epoch >= start), self.batch_seconds)


@dataclass(frozen=True)
class Batch:
    """One batch of a plan.

    Attributes:
        rows: (B,) indices of utterances, EMPTY (-1) for a row without one; empty rows come last.
        speeds: (B,) indices into the speed factors.
        samples: padded length S of every row.
    """

    rows: NDArray[np.int64]
    speeds: NDArray[np.int64]
    samples: int


@dataclass(frozen=True)
class EpochPlan:
    """All batches of one epoch, in order, and what part of their samples is padding (0..1)."""

    batches: tuple[Batch, ...]
    padding: float

    def __len__(self) -> int:
        return len(self.batches)


def plan_epoch(lengths: NDArray[np.int64], config: BatchConfig, seed: int, epoch: int) -> EpochPlan:
    """Plan one epoch over N utterances of `lengths` (N, K) samples at K speeds, the first of which is 1.

    Every utterance within the config's limits occurs once, at a speed drawn for (seed, epoch, utterance).
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch))))
    speeds = rng.integers(0, lengths.shape[1], len(lengths))
    chosen = lengths[np.arange(len(lengths)), speeds]
    order = rng.permutation(len(lengths))
    order = order[within_limits(lengths, config)[order]]
    sizes = bucket_samples(lengths[within_limits(lengths, config)], config)
    batches = _fill(order, chosen, sizes, config.seconds_at(epoch))
    shuffled = [batches[i] for i in rng.permutation(len(batches))]
    made = tuple(Batch(rows, np.where(rows == EMPTY, 0, speeds[rows]), samples) for rows, samples in shuffled)
    return EpochPlan(made, _padding(made, chosen))


def plan_in_order(lengths: NDArray[np.int64], config: BatchConfig) -> EpochPlan:
    """Plan one pass over all utterances of `lengths` (N, 1) by length, none dropped, for validation."""
    chosen = lengths[:, 0]
    batches = _fill(
        np.argsort(chosen, kind="stable"), chosen, bucket_samples(lengths, config), config.batch_seconds
    )
    made = tuple(Batch(rows, np.zeros_like(rows), samples) for rows, samples in batches)
    return EpochPlan(made, _padding(made, chosen))


def within_limits(lengths: NDArray[np.int64], config: BatchConfig) -> NDArray[np.bool_]:
    """Tell, for (N, K) lengths, which utterances are neither too short nor too long: (N,)."""
    seconds = lengths[:, 0] / SAMPLE_RATE
    return np.asarray((seconds >= config.min_seconds) & (seconds <= config.max_seconds))


def bucket_samples(lengths: NDArray[np.int64], config: BatchConfig) -> tuple[int, ...]:
    """Return the padded lengths, ascending, that waste least over all of `lengths` (N, K)."""
    grid = max(1, round(config.grid_seconds * SAMPLE_RATE))
    cells, counts = np.unique(-(-lengths.ravel() // grid), return_counts=True)
    if not cells.size:
        return ()
    edges = _least_padding(tuple(map(int, cells)), tuple(map(int, counts)), config.buckets)
    return tuple(edge * grid for edge in edges)


@lru_cache(maxsize=64)
def _least_padding(cells: tuple[int, ...], counts: tuple[int, ...], buckets: int) -> tuple[int, ...]:
    """Choose at most `buckets` of the ascending `cells` as upper edges so that sum(count * edge) is least."""
    below = np.concatenate([[0], np.cumsum(counts)])
    number = len(cells)
    # cost[j]: least cost of the first j cells with the edges used so far; the last edge is cells[j - 1].
    cost = np.concatenate([[0.0], np.full(number, np.inf)])
    cuts: list[NDArray[np.int64]] = []
    for _ in range(min(buckets, number)):
        # table[i, j - 1]: the last bucket holds cells i..j-1
        table = cost[:-1, None] + np.asarray(cells) * (below[1:] - below[:-1, None])
        table[np.tril_indices(number, -1)] = np.inf
        cuts.append(np.argmin(table, axis=0))
        cost = np.concatenate([[0.0], np.min(table, axis=0)])
    edges: list[int] = []
    end = number
    for cut in reversed(cuts):
        if end == 0:
            break
        edges.append(cells[end - 1])
        end = int(cut[end - 1])
    return tuple(reversed(edges))


def _fill(
    order: NDArray[np.int64], chosen: NDArray[np.int64], sizes: tuple[int, ...], batch_seconds: float
) -> list[tuple[NDArray[np.int64], int]]:
    """Cut `order` into (rows, padded samples), bucket by bucket, leftovers moving up to the next."""
    bucket = np.searchsorted(sizes, chosen[order])
    batches: list[tuple[NDArray[np.int64], int]] = []
    left = np.empty(0, np.int64)
    for index, size in enumerate(sizes):
        rows = max(1, math.floor(batch_seconds * SAMPLE_RATE / size))
        waiting = np.concatenate([left, order[bucket == index]])
        full = len(waiting) // rows * rows
        batches.extend((part, size) for part in waiting[:full].reshape(-1, rows))
        left = waiting[full:]
        if index == len(sizes) - 1 and len(left):
            batches.append((np.concatenate([left, np.full(rows - len(left), EMPTY)]), size))
    return batches


def _padding(batches: tuple[Batch, ...], chosen: NDArray[np.int64]) -> float:
    total = sum(batch.samples * len(batch.rows) for batch in batches)
    used = sum(int(chosen[batch.rows[batch.rows != EMPTY]].sum()) for batch in batches)
    return 1.0 - used / total if total else 0.0
