"""The recipes that ship, presets, and changes on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from leanformer.errors import ConfigError
from leanformer.pretrain.recipe import load_pretrain_recipe
from leanformer.train.overrides import differences

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("control", ["pretrain-unshared", "pretrain-shared-full"])
def test_a_control_differs_in_nothing_else(control: str) -> None:
    paper, other = (load_pretrain_recipe(RECIPES / f"{name}.toml") for name in ("pretrain-shared", control))
    changed = {line.partition(":")[0] for line in differences(paper, other)}
    wanted = {"name", "depths"}
    assert changed == wanted | ({"encoder.blocks", "encoder.layer_map"} if "un" in control else set())
    assert paper.encoder.depth == other.encoder.depth == 12
    assert set(paper.encoder.blocks) == set(other.encoder.blocks)
    assert (paper.drawn_depths, other.drawn_depths) == (tuple(range(1, 13)), (12,))


def test_the_other_objective_is_one_change_away() -> None:
    changes = ["objective.kind=reconstruction", "masking.fill=zero"]
    recipe = load_pretrain_recipe(RECIPES / "pretrain-shared.toml", changes)
    assert (recipe.objective.kind, recipe.masking.fill) == ("reconstruction", "zero")


def test_a_preset_gives_its_encoder(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('name = "x"\npreset = "layer-consistency-tiny"\n[encoder]\ndropout = 0.0\n')
    recipe = load_pretrain_recipe(path)
    assert recipe.encoder.depth == 6
    assert (len(recipe.encoder.blocks), recipe.encoder.dropout) == (1, 0.0)
    path.write_text('name = "x"\npreset = "layer-consistency-tni"\n')
    with pytest.raises(ConfigError, match=r"r\.toml: no preset .*layer-consistency-tiny"):
        load_pretrain_recipe(path)
