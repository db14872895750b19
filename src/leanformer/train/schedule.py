"""What changes with the step: learning rate, weights, the attention context, the depth. All pure functions."""

from collections.abc import Sequence

import numpy as np

from leanformer.layers.streaming import Context
from leanformer.train.recipe import ContextConfig, ObjectiveConfig, OptimizerConfig, TextConfig


def rate_factor(step: int, config: OptimizerConfig, max_steps: int) -> float:
    """Fraction of the peak rate at a step: warm-up, plateau, decay to zero at the end of the stage.

    A stage that is shorter than the decay begins as far down as there are steps left to decay in.
    """
    begin = max((restart for restart in config.restarts if restart <= step), default=0)
    end = min((restart for restart in config.restarts if restart > step), default=max_steps)
    warm = min(1.0, (step - begin + 1) / config.warmup_steps)
    left = min(1.0, max(0.0, (end - step) / config.decay_steps))
    return warm * left


def ctc_weight(step: int, config: ObjectiveConfig) -> float:
    """Weight of the CTC loss at a step: 0 before `ctc_start_step`, then rising to 1."""
    if step < config.ctc_start_step:
        return 0.0
    return min(1.0, (step - config.ctc_start_step + 1) / max(1, config.ctc_ramp_steps))


def clarity_factor(step: int, config: TextConfig) -> float:
    """Fraction of `config.clarity` at a step: from 1 at `start_step` down to 0 in `clear_steps`."""
    if config.clear_steps == 0:
        return 1.0
    return min(1.0, max(0.0, 1.0 - (step - config.start_step) / config.clear_steps))


def step_seed(seed: int, step: int) -> int:
    """One seed for everything random in a training step, so that a resumed run draws the same."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def draw_context(config: ContextConfig, seed: int, step: int, frames: int) -> Context:
    """The attention context of one batch whose longest row has `frames` encoder frames."""
    rng = np.random.default_rng((seed, step))
    if rng.random() < config.full_probability:
        return Context(max(1, frames), 0)
    return Context(int(rng.choice(config.chunk_sizes)), int(rng.choice(config.left_contexts)))


def draw_depth(depths: Sequence[int], seed: int, step: int) -> int:
    """How many layers run in a step, uniformly one of `depths` (arXiv 2105.00812)."""
    return int(np.random.default_rng((seed, step, 2)).choice(depths))  # the text of a step is drawn by 1
