"""Configs, in and out of TOML; what is said of wrong ones is in test_config_errors.py."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from leanformer.config import (
    BlockConfig,
    EncoderConfig,
    ModelConfig,
    PhoneHeadConfig,
    SoftmaxAttentionConfig,
    SubsamplingConfig,
)
from leanformer.config_toml import from_dict, load_toml, to_toml
from leanformer.data.batching import BatchConfig
from leanformer.data.noise import NoiseConfig
from leanformer.errors import ConfigError
from leanformer.features.augmentation import SpecAugmentConfig
from leanformer.train.recipe import Recipe

small = st.integers(1, 2000)
share = st.floats(0, 1, exclude_max=True)
orders = st.lists(st.sampled_from(["ffn", "attention", "conv"]), min_size=1, max_size=5).map(tuple)


@st.composite
def encoders(draw: st.DrawFn) -> EncoderConfig:
    heads = draw(st.integers(1, 8))
    kinds = st.builds(
        BlockConfig,
        order=orders,
        ffn_dim=small,
        kernel_size=small,
        attention=st.just(SoftmaxAttentionConfig(heads=heads)),
    )
    different = draw(st.lists(kinds, min_size=1, max_size=3))
    blocks = [block for block in different for _ in range(draw(st.integers(1, 4)))]
    rest = draw(st.lists(st.integers(0, len(blocks) - 1), max_size=3))
    layer_map = draw(st.permutations([*range(len(blocks)), *rest]))
    return EncoderConfig(
        model_dim=2 * heads * draw(st.integers(1, 9)),
        subsampling=SubsamplingConfig(factor=draw(st.sampled_from([4, 8])), channels=draw(small)),
        blocks=tuple(blocks),
        layer_map=draw(st.sampled_from([(), tuple(layer_map)])) if not rest else tuple(layer_map),
        exits=tuple(draw(st.lists(st.integers(1, len(blocks)), max_size=3))),
        activation=draw(st.sampled_from(["swish", "relu"])),
        conv_gate=draw(st.sampled_from(["glu", "none"])),
        dropout=draw(share),
    )


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    encoder = draw(encoders())
    depth = draw(st.integers(1, encoder.depth))
    head = PhoneHeadConfig(depth=depth, condition=depth < encoder.depth and draw(st.booleans()))
    return ModelConfig(
        vocabulary_size=draw(small), encoder=encoder, phone_head=draw(st.sampled_from([None, head]))
    )


@settings(max_examples=80)
@given(models())
def test_a_model_survives_toml(config: ModelConfig) -> None:
    values = tomllib.loads(to_toml(config))
    assert from_dict(ModelConfig, values, "text") == config
    assert from_dict(ModelConfig, config.model_dump(), "values") == config


@settings(max_examples=40)
@given(
    models(),
    st.text(st.characters(codec="utf-8")),
    st.floats(0, allow_infinity=False),
    st.lists(st.tuples(small, st.floats(0.1, 1e9)), max_size=3),
    st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=2),
)
def test_a_recipe_survives_toml(
    model: ModelConfig, name: str, rate: float, schedule: list[tuple[int, float]], paths: list[str]
) -> None:
    recipe = Recipe.model_validate(
        {
            "name": name,
            "model": model,
            "corpora": {"alignments": tuple(paths)},
            "optimizer": {"peak_rate": rate},
            "batch": BatchConfig(schedule=tuple(schedule)),
            "augment": {"noise": NoiseConfig(snr_db=(0.0, rate)), "spec": SpecAugmentConfig(freq_masks=3)},
        }
    )
    again = from_dict(Recipe, tomllib.loads(to_toml(recipe)), "text")
    assert again == recipe
    assert type(again.batch) is type(recipe.batch)


def test_equal_blocks_are_written_once() -> None:
    text = to_toml(EncoderConfig(blocks=(BlockConfig(),) * 3 + (BlockConfig(ffn_dim=5),)))
    assert "repeat = 3" in text
    assert text.count("ffn_dim") == 2


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text("""
        vocabulary_size = 5
        [encoder]
        model_dim = 16
        dropout = 0  # an integer where a fraction is meant
        subsampling = { factor = 8 }
        exits = [2]
        [[encoder.blocks]]
        repeat = 2
        order = ["ffn", "conv", "ffn"]
        [[encoder.blocks]]
        attention = { kind = "softmax", heads = 2 }
    """)
    local = BlockConfig(order=("ffn", "conv", "ffn"))
    last = BlockConfig(attention=SoftmaxAttentionConfig(heads=2))
    assert load_toml(ModelConfig, path) == ModelConfig(
        vocabulary_size=5,
        encoder=EncoderConfig(
            model_dim=16,
            dropout=0.0,
            subsampling=SubsamplingConfig(factor=8),
            exits=(2,),
            blocks=(local, local, last),
        ),
    )


def test_what_is_left_out_is_filled_in() -> None:
    config = EncoderConfig(blocks=(BlockConfig(),) * 3)
    assert config.layer_map == (0, 1, 2)
    assert config.depth == 3
    assert config.exits == (3,)
    shared = EncoderConfig(blocks=(BlockConfig(),) * 2, layer_map=(0, 1, 1, 0), exits=(3, 1, 3))
    assert shared.depth == 4
    assert shared.exits == (1, 3, 4)


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        EncoderConfig().model_dim = 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"dropout 0.1",
            "is not valid TOML: Expected '=' after a key in a key/value pair (at line 1, column 9)",
        ),
        (b"dropout = 0.1\ndropout = 0.2", "is not valid TOML: Cannot overwrite a value"),
        (b"\xff\xfe\x00", "is not text in UTF-8; pass the path of a TOML file"),
    ],
    ids=["no TOML", "twice", "no text"],
)
def test_a_file_that_is_not_toml(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_toml(EncoderConfig, path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_a_file_that_is_none(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    for path, said in ((missing, "no such file"), (tmp_path, "cannot be read (Is a directory)")):
        with pytest.raises(ConfigError) as caught:
            load_toml(EncoderConfig, path)
        assert str(caught.value) == f"{path}: {said}; pass the path of a TOML file"
