"""BatchNorm statistics that stay from a step on, while everything else is trained."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from leanformer.config_toml import from_dict
from leanformer.train.checkpoint import list_checkpoints, read_checkpoint
from leanformer.train.loop import train
from leanformer.train.prepare import prepare
from leanformer.train.recipe import Recipe

from .conftest import DATA, TINY


def weights_after(run: Path, steps: int, freeze: int | None, resume: bool = False) -> dict[str, torch.Tensor]:
    optimizer = TINY["optimizer"] | {"decay_steps": 1}
    if freeze is not None:
        optimizer["freeze_norms_step"] = freeze
    values = TINY | {
        "model": {"encoder": TINY["model"]["encoder"] | {"norm": "batch"}},
        "optimizer": optimizer,
        "schedule": {"max_steps": steps, "dev_every_steps": 5, "checkpoint_minutes": 0},
    }
    train(from_dict(Recipe, values, "tiny"), [DATA], run, resume)
    state: dict[str, torch.Tensor] = read_checkpoint(list_checkpoints(run)[0].path)["current_model_state"]
    return state


@pytest.mark.parametrize("freeze", [2, None])
def test_statistics_stay_from_the_step_on(freeze: int | None, tmp_path: Path) -> None:
    """In a run that is resumed after it, too, and after a dev pass."""
    before = weights_after(tmp_path / "run", 3, freeze)
    after = weights_after(tmp_path / "run", 6, freeze, resume=True)
    statistics = {name for name in before if name.endswith((".norm.mean", ".norm.variance"))}
    assert len(statistics) > 30
    stayed = {name for name in before if torch.equal(before[name], after[name])}
    assert statistics <= stayed if freeze else not statistics & stayed
    trained = {name for name in before if ".norm." in name} - statistics
    assert trained
    assert not trained & stayed, "weights and biases of the norms are trained on"


@pytest.mark.parametrize(
    ("encoder", "optimizer", "warned"),
    [
        ({"norm": "batch"}, {}, True),
        ({"norm": "batch_in_place"}, {}, True),
        ({"norm": "batch"}, {"freeze_norms_step": 0}, False),
        ({"norm": "batch", "norm_per_depth": True}, {}, False),
        ({"norm": "batch", "layer_map": [0, 1]}, {}, False),
        ({"norm": "layer"}, {}, False),
    ],
)
def test_shared_batch_norms_that_nothing_freezes_are_warned_of(
    encoder: dict[str, Any], optimizer: dict[str, Any], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    shared = TINY["model"]["encoder"] | {"layer_map": [0, 1, 0]} | encoder
    values = TINY | {"model": {"encoder": shared}, "optimizer": TINY["optimizer"] | optimizer}
    with caplog.at_level(logging.WARNING):
        prepare(from_dict(Recipe, values, "tiny"), [DATA])
    assert ("layers share BatchNorms" in caplog.text) == warned
