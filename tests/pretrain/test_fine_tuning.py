"""A recogniser that begins with a pre-trained encoder: all of it, and nothing of the objective."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from leanformer.config_toml import from_dict
from leanformer.errors import ConfigError
from leanformer.pretrain.recipe import load_pretrain_recipe
from leanformer.train.checkpoint import best_checkpoint, list_checkpoints, read_checkpoint
from leanformer.train.loop import train
from leanformer.train.overrides import load_recipe
from leanformer.train.recipe import Recipe

from .conftest import DATA, ENCODER

RECIPES = Path(__file__).parents[2] / "recipes"


def standing_still(**encoder: Any) -> Recipe:
    """A recipe in which no step changes a weight."""
    values = {
        "name": "fine",
        "model": {"encoder": {**ENCODER, **encoder}},
        "corpora": {"train_split": "dev"},
        "tokenizer": {"kind": "char"},
        "augment": {"speeds": [1.0]},
        "optimizer": {"peak_rate": 0.0, "weight_decay": 0.0},
        "schedule": {"max_steps": 1},
    }
    return from_dict(Recipe, values, "fine")


def test_the_encoder_is_taken_over_by_name(
    whole_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        train(standing_still(), [DATA], tmp_path / "run", initial=whole_run)
    best = best_checkpoint(whole_run)
    assert best is not None
    given = read_checkpoint(best)["state_dict"]
    taken = read_checkpoint(list_checkpoints(tmp_path / "run")[0].path)["state_dict"]
    same = {name for name in given if name in taken and torch.equal(given[name], taken[name])}
    assert same == {name for name in given if ".objective." not in name}
    assert {name for name in taken if name not in same} == {"model.output.weight", "model.output.bias"}
    assert "output.weight, output.bias begin afresh" in caplog.text
    assert "objective.quantizer.projection" in caplog.text


def test_unshared_layers_are_no_place_for_a_shared_one(whole_run: Path, tmp_path: Path) -> None:
    other = standing_still(blocks=ENCODER["blocks"] * 3, layer_map=[0, 1, 2])
    message = r"its encoder is not the recipe's: encoder\.blocks\.1\.\S+ \(none there, .* add --partial"
    with pytest.raises(ConfigError, match=message):
        train(other, [DATA], tmp_path / "run", initial=whole_run)


def test_an_encoder_of_other_sizes_is_refused(whole_run: Path, tmp_path: Path) -> None:
    other = standing_still(model_dim=24, subsampling={"factor": 4, "channels": 6})
    with pytest.raises(ConfigError, match="no weight of this model fits"):
        train(other, [DATA], tmp_path / "run", initial=whole_run)


def test_the_recipe_that_ships_fine_tunes_what_the_other_trained() -> None:
    pretrained = load_pretrain_recipe(RECIPES / "pretrain-shared.toml")
    recipe = load_recipe(RECIPES / "finetune.toml")
    assert recipe.model.encoder == pretrained.encoder
    assert (recipe.context, recipe.tokenizer.kind) == (pretrained.context, "unigram")
    assert recipe.objective.sample_depth
