"""A second pass learns beside the first, or on top of one that stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from leanformer.config_toml import from_dict
from leanformer.errors import ConfigError
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel
from leanformer.train.checkpoint import list_checkpoints, load_trained, read_checkpoint
from leanformer.train.loop import train
from leanformer.train.recipe import Recipe

from .conftest import DATA, TINY

SECOND = {
    "blocks": [{"ffn_dim": 16, "kernel_size": 3, "attention": {"heads": 2}}],
    "chunk_size": 4,
    "lookahead": 2,
}


def recipe(second: dict[str, Any] | None = None, steps: int = 3, **objective: Any) -> Recipe:
    model = TINY["model"] | ({"second": second} if second else {})
    schedule = {"max_steps": steps, "dev_every_steps": steps, "checkpoint_minutes": 0}
    return from_dict(Recipe, {**TINY, "model": model, "objective": objective, "schedule": schedule}, "tiny")


def weights(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = read_checkpoint(list_checkpoints(run)[0].path)["state_dict"]
    return found


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A run of a model with one pass."""
    run = tmp_path_factory.mktemp("first") / "run"
    train(recipe(), [DATA], run)
    return run


def test_both_passes_learn_and_are_told_apart(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(recipe(SECOND, steps=20), [DATA], run)
    events = EventAccumulator(str(next((run / "tensorboard").rglob("events*")))).Reload()
    told = events.Tags()["scalars"]
    assert {"train/ctc", "train/second", "dev_wer", "dev_wer/first_ctc"} <= set(told)
    before, after = SpeechModel(recipe(SECOND).model), load_trained(list_checkpoints(run)[0].path).model
    assert after.second is not None
    for name in (
        "second.layers.blocks.0.sublayers.0.norm.weight",
        "second.future.weights",
    ):  # begin as constants
        assert not torch.equal(after.state_dict()[name], before.state_dict()[name]), name


def test_a_frozen_first_pass_stays_as_it_is(first: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(recipe(SECOND, freeze_first=True), [DATA], run, initial=first)
    given, found = weights(first), weights(run)
    fresh = {name for name in found if name not in given}
    assert fresh
    assert all(name.startswith("model.second.") for name in fresh)
    for name, value in given.items():
        assert torch.equal(found[name], value), name
    assert found["model.second.future.weights"].any()  # began as zeros


def test_nothing_but_a_second_pass_can_be_trained_on_a_frozen_first() -> None:
    with pytest.raises(ConfigError, match="freeze_first"):
        recipe(freeze_first=True)


def test_in_full_context_the_second_pass_sees_all() -> None:
    model = SpeechModel(recipe(SECOND).model).eval()
    x, lengths = torch.randn(1, 80, 80), torch.tensor([80])
    other = x.clone()
    other[0, -1] += 10.0
    for context, alike in ((Context(20, 0), False), (Context(4, 8), True)):
        found = [model.train_outputs(one, lengths, context).second for one in (x, other)]
        assert found[0] is not None
        assert found[1] is not None
        assert torch.equal(found[0][0, 0], found[1][0, 0]) == alike
