"""Every row's recipe is what the row says it is, and builds a model."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from leanformer.config import EncoderConfig
from leanformer.model import SpeechModel
from leanformer.train.recipe import Recipe

PLAIN = ("ffn", "attention", "conv", "ffn")
LOCAL = ("ffn", "conv", "ffn")


@pytest.fixture(scope="module")
def rows_room(study: ModuleType) -> ModuleType:
    return sys.modules["study_rows"]


@pytest.fixture(scope="module")
def recipes(rows_room: ModuleType) -> dict[str, Recipe]:
    """Of every row, at the class of size that the study is made for."""
    load = sys.modules["study_bench"].load_recipe
    return {row.name: load(rows_room.PROTOCOL, row.changes) for row in rows_room.all_rows("small")}


def kinds(encoder: EncoderConfig) -> list[str]:
    """Of the attention at each depth, "none" where there is none."""
    blocks = [encoder.blocks[index] for index in encoder.layer_map]
    return [block.attention.kind if "attention" in block.order else "none" for block in blocks]


def folds(encoder: EncoderConfig, sublayer: str = "attention") -> list[int]:
    return [encoder.blocks[index].fold.of(sublayer) for index in encoder.layer_map]


EXPECTED: dict[str, Any] = {
    "conformer": lambda e: (e.norm, e.activation, kinds(e)) == ("layer", "swish", ["softmax"] * 10),
    "fusionformer": lambda e: (e.norm, e.activation, e.conv_gate) == ("batch", "relu", "none"),
    "no-norm": lambda e: (e.norm, e.activation, e.conv_gate) == ("none", "swish", "glu"),
    "no-norm-gentle": lambda e: e.norm == "none",
    "batch-in-place": lambda e: (e.norm, e.activation) == ("batch_in_place", "swish"),
    "batch-in-place-gentle": lambda e: e.norm == "batch_in_place",
    "relu-only": lambda e: (e.norm, e.activation, e.conv_gate) == ("layer", "relu", "none"),
    "batchnorm-only": lambda e: (e.norm, e.activation, e.conv_gate) == ("batch", "swish", "glu"),
    "local-quarter": lambda e: [b.order for b in e.blocks] == [LOCAL] * 2 + [PLAIN] * 8,
    "local-half": lambda e: [b.order for b in e.blocks] == [LOCAL] * 5 + [PLAIN] * 5,
    "performer": lambda e: kinds(e) == ["performer"] * 10 and e.blocks[0].order == PLAIN,
    "performer-128": lambda e: {b.attention.features for b in e.blocks} == {128},
    "performer-swap": lambda e: kinds(e) == ["performer"] * 10 and e.blocks[0].order == PLAIN,
    "performer-swap-long": lambda e: kinds(e) == ["performer"] * 10,
    "downsized": lambda e: (kinds(e), e.blocks[0].ffn_dim) == (["none"] * 7 + ["softmax"] * 3, 384),
    "practical": lambda e: kinds(e) == ["none"] * 7 + ["performer"] * 3,
    "shared": lambda e: (len(e.blocks), e.layer_map, e.norm) == (1, (0,) * 10, "layer"),
    "shared-sampled": lambda e: (len(e.blocks), e.layer_map, e.exits) == (1, (0,) * 10, (10,)),
    "shared-phones-kept": lambda e: e.layer_map == (0,) * 10,
    "shared-sampled-phones-kept": lambda e: e.layer_map == (0,) * 10,
    "fold2-third": lambda e: folds(e) == folds(e, "ffn") == [1] * 7 + [2] * 3,
    "fold2-all": lambda e: folds(e) == folds(e, "ffn") == [2] * 10 and e.blocks[0].fold.position,
    "fold4-all": lambda e: folds(e) == folds(e, "ffn") == [4] * 10,
    "fold2-attention": lambda e: (folds(e), folds(e, "ffn")) == ([2] * 10, [1] * 10),
    "fold2-ffn": lambda e: (folds(e), folds(e, "ffn")) == ([1] * 10, [2] * 10),
    "fold2-no-position": lambda e: folds(e) == [2] * 10 and not e.blocks[0].fold.position,
    "lean": lambda e: (e.model_dim, e.norm, folds(e), len(e.blocks)) == (192, "batch", [2] * 10, 5),
    "lean-wide": lambda e: (e.norm, folds(e), len(e.blocks)) == ("batch", [2] * 10, 5),
}


def test_every_row_is_expected(recipes: dict[str, Recipe]) -> None:
    assert sorted(recipes) == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_row_has_the_property_it_is_about(recipes: dict[str, Recipe], name: str) -> None:
    encoder = recipes[name].model.encoder
    assert EXPECTED[name](encoder)
    assert encoder.depth == 10


def test_what_is_not_about_the_row_is_the_protocol_s(recipes: dict[str, Recipe]) -> None:
    base = recipes["conformer"]
    for name, recipe in recipes.items():
        for part in ("corpora", "tokenizer", "augment", "batch", "context", "seed"):
            assert getattr(recipe, part) == getattr(base, part), name
        if "swap" not in name:
            assert recipe.schedule == base.schedule, name
        assert recipe.model.phone_head == base.model.phone_head, name
        encoder = recipe.model.encoder
        assert encoder.subsampling == base.model.encoder.subsampling, name
        assert encoder.dropout == base.model.encoder.dropout, name


def test_a_folder_of_the_cascade_lends_its_runs(rows_room: ModuleType) -> None:
    models = {row.name: row.model for row in rows_room.all_rows("small")}
    assert models["conformer"] == rows_room.Model("conformer", ("preset=conformer-small",))
    assert models["practical"] == rows_room.Model("practical", ("preset=practical-small",))


def test_rows_that_need_more_have_it(rows_room: ModuleType, recipes: dict[str, Recipe]) -> None:
    rows = {row.name: row for row in rows_room.all_rows("small")}
    assert all(rows[row.of].of == "" for row in rows.values() if row.of)
    assert rows["performer-swap"].start == "conformer"
    fine = recipes["performer-swap"]
    assert fine.schedule.max_steps < recipes["conformer"].schedule.max_steps
    assert (fine.objective.ctc_start_step, fine.optimizer.restarts) == (0, ())
    assert rows["shared-sampled"].depths == (8, 6, 4)
    assert recipes["shared-sampled"].objective.sample_depth
    for name in ("shared", "shared-sampled"):
        assert recipes[name].text.alone_steps > recipes[f"{name}-phones-kept"].text.alone_steps == 0
    for name in ("lean", "lean-wide"):  # they share BatchNorms
        freeze = recipes[name].optimizer.freeze_norms_step
        assert freeze is not None
        assert recipes[name].objective.ctc_start_step < freeze < recipes[name].schedule.max_steps
        assert recipes[name].model.second is not None


def test_the_wide_row_costs_no_more_than_the_baseline_and_a_wider_one_would(
    rows_room: ModuleType, recipes: dict[str, Recipe]
) -> None:
    kit = sys.modules["study_recipes"]
    limit, wide = (kit.macs_per_second(recipes[name]) for name in ("conformer", "lean-wide"))
    assert kit.macs_per_second(recipes["lean"]) <= wide <= limit
    dim = recipes["lean-wide"].model.encoder.model_dim
    assert wide * ((dim + kit.WIDTH_STEP) / dim) ** 2 > limit  # most of the cost grows with the square


@pytest.mark.parametrize(("limit", "width"), [(95, 32), (96, 48), (1000, 496), (3, 32)])
def test_widest(rows_room: ModuleType, limit: int, width: int) -> None:
    assert sys.modules["study_recipes"].widest(lambda dim: 2 * dim, limit, 32) == width


def test_rows_build_models(study: ModuleType, rows_room: ModuleType, toys: tuple[str, ...]) -> None:
    load = sys.modules["study_bench"].load_recipe
    for row in rows_room.all_rows("tiny", toys):
        recipe = load(rows_room.PROTOCOL, row.changes)
        model = SpeechModel(recipe.model)
        assert model.encoder.config == recipe.model.encoder
        assert recipe.schedule.max_steps == 3, row.name  # what holds for all goes last
