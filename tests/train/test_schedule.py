from itertools import pairwise

import numpy as np
import pytest
import torch

from leanformer.layers.streaming import Context
from leanformer.train.recipe import ContextConfig, ObjectiveConfig, OptimizerConfig, TextConfig
from leanformer.train.schedule import clarity_factor, ctc_weight, draw_context, rate_factor, step_seed


def test_the_rate_warms_up_stays_and_decays_to_zero() -> None:
    config = OptimizerConfig(warmup_steps=10, decay_steps=20)
    factors = [rate_factor(step, config, max_steps=100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)  # the first step is not wasted
    assert factors[4] == pytest.approx(0.5)
    assert factors[9:81] == [1.0] * 72
    assert factors[90] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.05)
    assert factors[100] == 0.0
    assert all(a < b for a, b in pairwise(factors[:10]))
    assert all(a > b for a, b in pairwise(factors[80:]))


def test_the_rate_of_a_run_shorter_than_warm_up_and_decay_never_jumps() -> None:
    config = OptimizerConfig(warmup_steps=50, decay_steps=80)
    factors = [rate_factor(step, config, max_steps=60) for step in range(70)]
    assert all(0.0 <= factor <= 1.0 for factor in factors)
    assert max(abs(a - b) for a, b in pairwise(factors)) < 0.05
    assert factors[60:] == [0.0] * 10  # a step beyond the last does not climb the hill downwards


def test_the_plateau_does_not_depend_on_the_end() -> None:
    """So a run that goes on for longer resumes from before its decay."""
    config = OptimizerConfig(warmup_steps=10, decay_steps=20)
    short, long = ([rate_factor(step, config, end) for step in range(80)] for end in (100, 1000))
    assert short == long


@pytest.mark.parametrize(
    ("start", "ramp", "weights"),
    [
        (0, 0, [1.0, 1.0, 1.0, 1.0, 1.0]),
        (0, 4, [0.25, 0.5, 0.75, 1.0, 1.0]),
        (2, 0, [0.0, 0.0, 1.0, 1.0, 1.0]),
        (2, 2, [0.0, 0.0, 0.5, 1.0, 1.0]),
    ],
)
def test_the_weight_of_ctc_grows_from_0_to_1(start: int, ramp: int, weights: list[float]) -> None:
    config = ObjectiveConfig(ctc_start_step=start, ctc_ramp_steps=ramp)
    assert [ctc_weight(step, config) for step in range(5)] == weights
    assert ctc_weight(10**6, config) == 1.0


def test_a_steps_seed_is_its_own_and_always_the_same() -> None:
    seeds = [step_seed(seed, step) for seed in range(5) for step in range(200)]
    assert len(set(seeds)) == len(seeds)
    torch.manual_seed(1)
    np.random.seed(1)
    assert seeds == [step_seed(seed, step) for seed in range(5) for step in range(200)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert torch.Generator().manual_seed(max(seeds)).initial_seed() == max(seeds)


CONFIG = ContextConfig(chunk_sizes=(4, 8), left_contexts=(32, 64), full_probability=0.25)


def test_a_steps_context_is_always_the_same() -> None:
    drawn = [draw_context(CONFIG, 3, step, 100) for step in range(50)]
    assert drawn == [draw_context(CONFIG, 3, step, 100) for step in range(50)]
    assert drawn != [draw_context(CONFIG, 4, step, 100) for step in range(50)]


def test_drawing_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    expected = torch.rand(()), np.random.random()
    torch.manual_seed(1)
    np.random.seed(1)
    draw_context(CONFIG, 3, 5, 100)
    step_seed(3, 5)
    assert (torch.rand(()), np.random.random()) == expected


def test_contexts_are_drawn_as_often_as_asked() -> None:
    drawn = [draw_context(CONFIG, 0, step, 100) for step in range(2000)]
    full = drawn.count(Context(100, 0))
    assert full / 2000 == pytest.approx(0.25, abs=0.04)
    for chunk_size in (4, 8):
        for left_context in (32, 64):
            share = drawn.count(Context(chunk_size, left_context)) / (2000 - full)
            assert share == pytest.approx(0.25, abs=0.05)


def test_full_context_is_the_longest_row_and_at_least_one_frame() -> None:
    always = CONFIG.model_copy(update={"full_probability": 1.0})
    assert draw_context(always, 0, 0, 37) == Context(37, 0)
    assert draw_context(always, 0, 0, 0) == Context(1, 0)
    never = CONFIG.model_copy(update={"full_probability": 0.0})
    assert all(draw_context(never, 0, step, 37).chunk_size in (4, 8) for step in range(200))


def test_clarity_falls_to_nothing_in_its_steps() -> None:
    config = TextConfig(start_step=100, clear_steps=50)
    steps = (0, 100, 125, 150, 500)
    assert [clarity_factor(step, config) for step in steps] == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert clarity_factor(500, TextConfig(start_step=100)) == 1.0


def test_the_rate_decays_before_a_restart_and_warms_up_after_it() -> None:
    config = OptimizerConfig(warmup_steps=10, decay_steps=40, restarts=(100, 120))
    factors = [rate_factor(step, config, 300) for step in range(300)]
    assert factors[9:60] == [1.0] * 51
    assert factors[80] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(1 / 40)
    assert factors[100] == pytest.approx(0.1 * 0.5)
    assert factors[110] == pytest.approx(0.25)
    assert factors[120] == pytest.approx(0.1)
    assert factors[280] == pytest.approx(0.5)
