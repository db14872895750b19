from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from leanformer.data.batching import (
    EMPTY,
    SAMPLE_RATE,
    BatchConfig,
    EpochPlan,
    bucket_samples,
    plan_epoch,
    plan_in_order,
    within_limits,
)

SPEEDS = np.array([1.0, 0.9, 1.1])
LENGTHS = st.lists(st.integers(200, 20 * SAMPLE_RATE), min_size=1, max_size=60).map(
    lambda samples: np.rint(np.array(samples)[:, None] / SPEEDS).astype(np.int64)
)
CONFIGS = st.builds(
    BatchConfig,
    batch_seconds=st.floats(1.0, 60.0),
    buckets=st.integers(1, 9),
    grid_seconds=st.sampled_from((0.32, 0.64)),
    max_seconds=st.floats(5.0, 30.0),
)
SEEDS = st.integers(0, 1000)
EPOCHS = st.integers(0, 50)


def used(plan: EpochPlan) -> list[int]:
    return sorted(int(row) for batch in plan.batches for row in batch.rows if row != EMPTY)


def shapes(plan: EpochPlan) -> set[tuple[int, int]]:
    return {(len(batch.rows), batch.samples) for batch in plan.batches}


@settings(max_examples=40)
@given(lengths=LENGTHS, config=CONFIGS, seed=SEEDS, epoch=EPOCHS)
def test_every_utterance_once_and_none_cut(
    lengths: NDArray[np.int64], config: BatchConfig, seed: int, epoch: int
) -> None:
    plan = plan_epoch(lengths, config, seed, epoch)
    assert used(plan) == np.flatnonzero(within_limits(lengths, config)).tolist()
    for batch in plan.batches:
        taken = batch.rows != EMPTY
        assert taken.any()
        assert (lengths[batch.rows[taken], batch.speeds[taken]] <= batch.samples).all()
        assert not taken[np.argmin(taken) :].any() or taken.all()  # empty rows come last


@settings(max_examples=40)
@given(lengths=LENGTHS, config=CONFIGS, seed=SEEDS, epoch=EPOCHS)
def test_few_shapes_the_same_in_all_epochs(
    lengths: NDArray[np.int64], config: BatchConfig, seed: int, epoch: int
) -> None:
    plans = [plan_epoch(lengths, config, seed, e) for e in range(epoch, epoch + 4)]
    assert len(set().union(*map(shapes, plans))) <= config.buckets
    for rows, samples in set().union(*map(shapes, plans)):
        assert samples % round(config.grid_seconds * SAMPLE_RATE) == 0
        assert rows == 1 or rows * samples <= config.batch_seconds * SAMPLE_RATE


@settings(max_examples=40)
@given(lengths=LENGTHS, config=CONFIGS, seed=SEEDS, epoch=EPOCHS)
def test_at_most_one_batch_has_empty_rows(
    lengths: NDArray[np.int64], config: BatchConfig, seed: int, epoch: int
) -> None:
    plan = plan_epoch(lengths, config, seed, epoch)
    assert sum(bool((batch.rows == EMPTY).any()) for batch in plan.batches) <= 1


@settings(max_examples=40)
@given(lengths=LENGTHS, config=CONFIGS, seed=SEEDS, epoch=EPOCHS)
def test_a_plan_is_a_function_of_seed_and_epoch(
    lengths: NDArray[np.int64], config: BatchConfig, seed: int, epoch: int
) -> None:
    first, second = (plan_epoch(lengths, config, seed, epoch) for _ in range(2))
    for one, other in zip(first.batches, second.batches, strict=True):
        assert one.samples == other.samples
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.speeds, other.speeds)


def big(count: int = 500) -> NDArray[np.int64]:
    samples = np.random.default_rng(3).integers(SAMPLE_RATE, 16 * SAMPLE_RATE, count)
    return np.rint(samples[:, None] / SPEEDS).astype(np.int64)


@pytest.mark.parametrize(("seed", "epoch"), [(1, 0), (0, 1)])
def test_another_seed_or_epoch_gives_other_batches_and_speeds(seed: int, epoch: int) -> None:
    first, other = plan_epoch(big(), BatchConfig(), 0, 0), plan_epoch(big(), BatchConfig(), seed, epoch)
    assert {tuple(batch.rows) for batch in first.batches} != {tuple(batch.rows) for batch in other.batches}
    drawn = [
        {
            int(row): int(speed)
            for batch in plan.batches
            for row, speed in zip(batch.rows, batch.speeds, strict=True)
        }
        for plan in (first, other)
    ]
    changed = np.mean([drawn[0][row] != drawn[1][row] for row in range(500)])
    assert 0.5 < changed < 0.8  # two of three, if speeds are drawn independently


def test_speeds_are_drawn_evenly() -> None:
    plan = plan_epoch(big(), BatchConfig(), 0, 0)
    speeds = np.concatenate([batch.speeds[batch.rows != EMPTY] for batch in plan.batches])
    assert (np.bincount(speeds) / len(speeds) > 0.27).all()


def test_long_batches_do_not_stand_together() -> None:
    sizes = [batch.samples for batch in plan_epoch(big(), BatchConfig(), 0, 0).batches]
    assert sizes != sorted(sizes)
    assert sizes != sorted(sizes, reverse=True)


def test_padding_is_what_it_says_and_little() -> None:
    lengths = big()
    plan = plan_epoch(lengths, BatchConfig(), 0, 0)
    total = sum(len(batch.rows) * batch.samples for batch in plan.batches)
    spoken = sum(
        int(lengths[row, speed])
        for batch in plan.batches
        for row, speed in zip(batch.rows, batch.speeds, strict=True)
        if row != EMPTY
    )
    assert plan.padding == pytest.approx(1 - spoken / total)
    assert plan.padding < 0.14


@settings(max_examples=50)
@given(
    samples=st.lists(st.integers(1, 30 * 5120), min_size=1, max_size=12),
    buckets=st.integers(1, 4),
)
def test_no_other_buckets_waste_less(samples: list[int], buckets: int) -> None:
    lengths = np.array(samples)[:, None]
    config = BatchConfig(buckets=buckets)

    def padded(edges: tuple[int, ...]) -> int:
        return sum(min((edge for edge in edges if edge >= length), default=10**9) for length in samples)

    grid = sorted({-(-length // 5120) * 5120 for length in samples})
    best = min(
        padded(edges) for size in range(1, buckets + 1) for edges in combinations(grid, min(size, len(grid)))
    )
    assert padded(bucket_samples(lengths, config)) == best
    assert len(bucket_samples(lengths, config)) <= buckets


def test_batches_grow_with_the_schedule() -> None:
    config = BatchConfig(batch_seconds=32.0, schedule=((2, 64.0), (5, 128.0)))
    assert [config.seconds_at(epoch) for epoch in range(7)] == [32, 32, 64, 64, 64, 128, 128]
    small, large = (plan_epoch(big(), config, 0, epoch) for epoch in (1, 5))
    assert len(small) > 3 * len(large)


def test_limits_leave_out() -> None:
    lengths = np.array([[100], [3 * SAMPLE_RATE], [50 * SAMPLE_RATE]])
    assert used(plan_epoch(lengths, BatchConfig(), 0, 0)) == [1]
    assert len(plan_epoch(lengths, BatchConfig(max_seconds=2.0), 0, 0)) == 0


@settings(max_examples=40)
@given(lengths=LENGTHS, config=CONFIGS)
def test_validation_drops_nothing_and_goes_by_length(lengths: NDArray[np.int64], config: BatchConfig) -> None:
    plan = plan_in_order(lengths[:, :1], config)
    assert used(plan) == list(range(len(lengths)))
    assert len(shapes(plan)) <= config.buckets
    ordered = [int(lengths[row, 0]) for batch in plan.batches for row in batch.rows if row != EMPTY]
    assert ordered == sorted(ordered)
