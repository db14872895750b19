"""Presets by name, the plain Conformer beside each, and recipes that begin with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from leanformer.config import PerformerAttentionConfig
from leanformer.config_toml import to_toml
from leanformer.errors import ConfigError
from leanformer.presets import SIZES, TECHNIQUES, names, preset, with_preset
from leanformer.pretrain.recipe import load_pretrain_recipe
from leanformer.profile.count import count
from leanformer.profile.energy import EnergyModel
from leanformer.profile.passes import passes_of
from leanformer.profile.report import distinct_parameters
from leanformer.train.overrides import load_recipe

CASCADES = ("practical", "lean")
RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("name", names())
def test_every_preset_has_a_plain_conformer_of_its_size(name: str) -> None:
    found = preset(name)
    plain = preset(f"{name}-plain")
    assert found.plain == plain.config == plain.plain
    encoder = plain.config.encoder
    assert (encoder.norm, encoder.activation, encoder.conv_gate) == ("layer", "swish", "glu")
    assert len(encoder.blocks) == encoder.depth
    assert all(block.fold.factor == 1 and block.attention.kind == "softmax" for block in encoder.blocks)
    assert plain.config.vocabulary_size == found.config.vocabulary_size


@pytest.mark.parametrize(("size", "least", "most"), [("tiny", 0.8e6, 1.2e6), ("small", 5e6, 10e6)])
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_sizes_are_what_they_are_called(technique: str, size: str, least: float, most: float) -> None:
    passes = [one.counts for one in passes_of(preset(f"{technique}-{size}").config, 640, 64, EnergyModel())]
    assert least <= distinct_parameters(passes) <= most


@pytest.mark.parametrize("size", SIZES)
def test_lean_is_far_below_its_plain_conformer(size: str) -> None:
    found = preset(f"lean-{size}")
    passes = [one.counts for one in passes_of(found.config, 640, 64, EnergyModel())]
    plain = count(found.plain, 640, 64)
    # Both passes together.
    assert 7 * distinct_parameters(passes) < plain.parameters
    assert 2 * sum(one.macs_per_second for one in passes) < plain.macs_per_second


@pytest.mark.parametrize("size", SIZES)
def test_lean_is_all_four(size: str) -> None:
    encoder = preset(f"lean-{size}").config.encoder
    assert encoder.norm == "batch"
    assert encoder.depth > len(encoder.blocks)
    assert all(block.fold.factor == 2 for block in encoder.blocks)
    assert any("attention" not in block.order for block in encoder.blocks)
    attending = [block for block in encoder.blocks if "attention" in block.order]
    assert attending
    assert all(isinstance(block.attention, PerformerAttentionConfig) for block in attending)


@pytest.mark.parametrize("size", SIZES)
def test_the_second_pass_of_lean_is_lean(size: str) -> None:
    layers = preset(f"lean-{size}").config.second_layers
    assert layers.norm == "batch"
    assert layers.depth == 2 * len(layers.blocks)
    assert all(block.fold.factor == 2 for block in layers.blocks)


@pytest.mark.parametrize("size", SIZES)
def test_the_second_pass_of_practical_is_of_full_blocks(size: str) -> None:
    found = preset(f"practical-{size}").config
    block = found.encoder.blocks[-1]  # one with attention, at full width
    for one in found.second_layers.blocks:
        assert (one.order, one.ffn_dim) == (("ffn", "attention", "conv", "ffn"), block.ffn_dim)
        assert one.attention.kind == "softmax"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("technique", CASCADES)
def test_both_passes_cost_less_than_the_plain_conformer(technique: str, size: str) -> None:
    found = preset(f"{technique}-{size}")
    second = found.config.second
    assert second is not None
    assert second.chunk_size - 1 + second.lookahead == 23  # about 900 ms ahead, in frames of 40 ms
    passes = [one.counts for one in passes_of(found.config, 640, 64, EnergyModel())]
    plain = count(found.plain, 640, 64)
    assert distinct_parameters(passes) < 0.9 * plain.parameters
    assert sum(one.macs_per_second for one in passes) < 0.9 * plain.macs_per_second
    assert sum(sum(one.state_bytes.values()) for one in passes) < 0.9 * sum(plain.state_bytes.values())


@pytest.mark.parametrize("name", names())
def test_a_first_pass_alone(name: str) -> None:
    found = preset(name)
    assert (found.config.second is not None) == name.startswith(CASCADES)
    if found.config.second is None:
        with pytest.raises(ConfigError, match=f"{name} has but one pass; leave -first out"):
            preset(f"{name}-first")
        return
    alone = preset(f"{name}-first")
    assert alone.config == found.config.model_copy(update={"second": None})
    assert alone.plain == found.plain


def test_paper_sizes() -> None:
    sizes = {
        technique: (plain.depth, plain.model_dim, plain.blocks[0].ffn_dim)
        for technique in TECHNIQUES
        for plain in [preset(f"{technique}-paper").plain.encoder]
    }
    assert sizes == {
        "conformer": (17, 512, 2048),
        "fusionformer": (12, 256, 2048),
        "practical": (17, 512, 2048),
        "layer-consistency": (12, 768, 3072),
        "folding": (20, 512, 2048),
        "lean": (17, 512, 2048),
    }
    folded = [block.fold.factor for block in preset("folding-paper").config.encoder.blocks]
    assert folded == [1] * 12 + [2] * 8
    assert preset("layer-consistency-paper").config.encoder.layer_map == (0,) * 12
    assert preset("layer-consistency-paper").config.output_depths == tuple(range(1, 13))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("conformer-smal", "no preset 'conformer-smal'; did you mean 'conformer-small'?"),
        ("lena-paper", "did you mean 'lean-paper'?"),
        ("qqq", "no preset 'qqq'; there are conformer-tiny, "),
        ("lean-tiny-first-plain", "no preset 'lean-tiny-first-plain'; did you mean 'lean-tiny'?"),
    ],
)
def test_an_unknown_preset_names_the_nearest(wrong: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        preset(wrong)
    assert message in str(caught.value)


def recipe(folder: Path, text: str, *changes: str) -> object:
    path = folder / "recipe.toml"
    path.write_text(f'name = "it"\n{text}')
    return load_recipe(path, changes).model


def test_a_recipe_overrides_single_values(tmp_path: Path) -> None:
    text = 'preset = "practical-tiny"\n[model.encoder]\ndropout = 0.3\nblocks = { kernel_size = 9 }\n'
    model = recipe(tmp_path, text)
    base = preset("practical-tiny").config
    expected = base.encoder.model_copy(
        update={
            "dropout": 0.3,
            "blocks": tuple(one.model_copy(update={"kernel_size": 9}) for one in base.encoder.blocks),
        }
    )
    assert model == base.model_copy(update={"encoder": expected})


def test_a_recipe_replaces_lists_and_kinds(tmp_path: Path) -> None:
    text = (
        'preset = "practical-tiny"\n[model.encoder]\n'
        'blocks = [{ repeat = 2, attention = { kind = "softmax", heads = 2 } }]\n'
    )
    model = recipe(tmp_path, text)
    assert model.encoder.depth == len(model.encoder.blocks) == 2  # type: ignore[attr-defined]
    text = 'preset = "practical-tiny"\n[model.encoder.blocks.attention]\nkind = "softmax"\nheads = 2\n'
    assert {one.attention.kind for one in recipe(tmp_path, text).encoder.blocks} == {"softmax"}  # type: ignore[attr-defined]


def test_a_recipe_has_both_passes_or_the_first_alone(tmp_path: Path) -> None:
    model = recipe(tmp_path, 'preset = "lean-tiny"\n[model.second]\nchunk_size = 8\n')
    base = preset("lean-tiny").config
    assert base.second is not None
    assert model == base.model_copy(update={"second": base.second.model_copy(update={"chunk_size": 8})})
    alone = recipe(tmp_path, 'preset = "lean-tiny"\n', "preset=lean-tiny-first")
    assert alone == base.model_copy(update={"second": None})


def test_a_preset_may_be_set_on_the_command_line(tmp_path: Path) -> None:
    changes = ("preset=folding-tiny", "model.encoder.blocks.kernel_size=7")
    model = recipe(tmp_path, 'preset = "conformer-small"\n', *changes)
    assert {block.kernel_size for block in model.encoder.blocks} == {7}  # type: ignore[attr-defined]
    assert model.encoder.blocks[-1].fold.factor == 2  # type: ignore[attr-defined]


def test_a_wrong_preset_names_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.toml: no preset 'lean-huge'; did you mean"):
        recipe(tmp_path, 'preset = "lean-huge"\n')
    with pytest.raises(ConfigError, match=r"`preset` = 3: it should be the name"):
        recipe(tmp_path, "preset = 3\n")


def test_without_a_preset_nothing_changes() -> None:
    values = {"name": "it"}
    assert with_preset(values, "it") is values


def test_a_resolved_recipe_names_no_preset(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "it"\npreset = "lean-tiny"\n')
    made = load_recipe(path)
    path.write_text(to_toml(made))
    assert "preset" not in path.read_text()
    assert load_recipe(path) == made


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipes_load(path: Path) -> None:
    load = load_pretrain_recipe if path.name.startswith("pretrain") else load_recipe
    assert load(path).name
