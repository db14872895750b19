"""What is said of a wrong config: one line with file, key, value and cure."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanformer.config import EncoderConfig, Frozen, ModelConfig
from leanformer.config_toml import from_dict, load_toml
from leanformer.errors import ConfigError
from leanformer.train.recipe import Recipe


def refusal(cls: type[Frozen], text: str, folder: Path) -> str:
    """What is said of a TOML text: one line that begins with the file's name, which is cut off."""
    path = folder / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_toml(cls, path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


MISSPELT = {
    "nmae = 'x'": "unknown key `nmae`; did you mean `name`?",
    "modle = 3": "unknown key `modle`; did you mean `model`?",
    "model.encodr = 3": "unknown key `model.encodr`; did you mean `encoder`?",
    "model.encoder.layermap = [0]": "unknown key `model.encoder.layermap`; did you mean `layer_map`?",
    "model.encoder.subsampling.facter = 4": "unknown key `model.encoder.subsampling.facter`; did you mean "
    "`factor`?",
    "model.encoder.blocks = [{}, {kernel = 3}]": "unknown key `model.encoder.blocks[1].kernel`; did you mean "
    "`kernel_size`?",
    "model.encoder.blocks = [{repeat = 2}, {attention.head = 3}]": "unknown key "
    "`model.encoder.blocks[2].attention.head`; did you mean `heads`?",
    "model.phone_head.dept = 1": "unknown key `model.phone_head.dept`; did you mean `depth`?",
    "corpora.exclud = []": "unknown key `corpora.exclud`; did you mean `exclude`?",
    "tokenizer.vocab_size = 3": "unknown key `tokenizer.vocab_size`; did you mean `vocabulary_size`?",
    "optimizer.peek_rate = 3": "unknown key `optimizer.peek_rate`; did you mean `peak_rate`?",
    "augment.speed = [1.0]": "unknown key `augment.speed`; did you mean `speeds`?",
    # dataclasses from here
    "augment.noise.bable = 0.1": "unknown key `augment.noise.bable`; did you mean `babble`?",
    "augment.spec.time_mask = 1": "unknown key `augment.spec.time_mask`; did you mean `time_masks`?",
    "batch.bucket = 3": "unknown key `batch.bucket`; did you mean `buckets`?",
}


@pytest.mark.parametrize("text", MISSPELT)
def test_a_misspelt_key_names_the_nearest(text: str, tmp_path: Path) -> None:
    name = "" if text.startswith("nmae") else "name = 'n'\n"
    assert refusal(Recipe, f"{name}{text}", tmp_path) == MISSPELT[text]


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("model.encoder.subsampling.zzz = 1", "channels, factor"),
        ("batch.zzz = 1", "batch_seconds, buckets, "),
        ("'a.b\\n' = 1", "augment, batch, "),
    ],
)
def test_a_key_that_resembles_none_gets_the_list(text: str, known: str, tmp_path: Path) -> None:
    message = refusal(Recipe, f"name = 'n'\n{text.replace(chr(39), chr(34))}", tmp_path)
    assert f"; known here: {known}" in message


WRONG = {
    "model_dim = '8'": '`model_dim` = "8": it should be an integer, without quotes',
    "model_dim = 8.0": "`model_dim` = 8.0: it should be an integer",
    "model_dim = true": "`model_dim` = true: it should be an integer",
    "model_dim = 0": "`model_dim` = 0: it should be greater than 0",
    "model_dim = []": "`model_dim` = []: it should be an integer",
    "dropout = '0.1'": '`dropout` = "0.1": it should be a number, without quotes',
    "dropout = 1.0": "`dropout` = 1.0: it should be less than 1",
    "dropout = -0.1": "`dropout` = -0.1: it should be greater than or equal to 0",
    "dropout = nan": "`dropout` = NaN: it should be a finite number",
    "dropout = 2020-01-02": "`dropout` = 2020-01-02: it should not be a date or time; no key takes one",
    "norm = 'batsch'": "`norm` = \"batsch\": it should be 'layer', 'batch', 'batch_in_place' or 'none'",
    "activation = 3": "`activation` = 3: it should be 'swish' or 'relu'",
    "subsampling.factor = 5": "`subsampling.factor` = 5: it should be 4 or 8",
    "subsampling.factor = '4'": '`subsampling.factor` = "4": it should be 4 or 8',
    "subsampling = 4": "`subsampling` = 4: it should be a table",
    "layer_map = 3": "`layer_map` = 3: it should be an array, as in [1, 2]",
    "layer_map = [0, '1']": '`layer_map[1]` = "1": it should be an integer, without quotes',
    "layer_map = [0, 12]": "layer_map names block 12, but blocks has 12 (0 is the first)",
    "layer_map = [-1]": "layer_map names block -1, but blocks has 12 (0 is the first)",
    "layer_map = [0, 1]": "block 2 is in blocks but nowhere in layer_map",
    "exits = [0]": "`exits[0]` = 0: it should be greater than 0",
    "exits = [1, 13]": "exits names depth 13, but the encoder has 12 layers",
    "blocks = []": "blocks must hold at least one block",
    "blocks = [{order = []}]": "`blocks[0]`: order must name at least one sublayer",
    "blocks = [{order = ['ffn', 'lstm']}]": "`blocks[0].order[1]` = \"lstm\": it should be 'ffn', 'attention' or "
    "'conv'",
    "blocks = [{attention.kind = 'linear'}]": '`blocks[0].attention.kind` = "linear": it should be '
    "one of 'softmax', 'performer'",
    "blocks = [{repeat = 0}]": "`blocks[0].repeat` = 0: it should be an integer from 1 to 1000",
    "blocks = [{repeat = true}]": "`blocks[0].repeat` = true: it should be an integer from 1 to 1000",
    "blocks = [{repeat = '2'}]": '`blocks[0].repeat` = "2": it should be an integer from 1 to 1000',
    "blocks = [{repeat = 1000000000}]": "`blocks[0].repeat` = 1000000000: it should be an integer from 1 to 1000",
    "blocks = [{repeat = 2020-01-02}]": '`blocks[0].repeat` = "2020-01-02": it should be an integer from 1 to 1000',
    "model_dim = 9": "model_dim 9 must be a multiple of twice the heads (4), as rotary positions turn pairs within "
    "a head",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_value_is_named_with_what_is_expected(text: str, tmp_path: Path) -> None:
    assert refusal(EncoderConfig, text, tmp_path) == WRONG[text]


WRONG_IN_RECIPES = {
    "": "`name` is missing; add it",
    "name = 3": "`name` = 3: it should be a string",
    "name = 'n'\nmodel.phone_head = {}": "`model.phone_head.depth` is missing; add it",
    "name = 'n'\nmodel.phone_head.depth = 13": "`model`: phone_head.depth is 13, but the encoder has only 12 layers",
    "name = 'n'\nmodel.phone_head.depth = 12": "`model`: phone_head.depth 12 is the last layer, so its posteriors "
    "would reach no other; lower it, or set phone_head.condition = false",
    "name = 'n'\nmodel.encoder.model_dim = 7": "`model.encoder`: model_dim 7 must be a multiple of twice the heads "
    "(4), as rotary positions turn pairs within a head",
    "name = 'n'\nbatch.buckets = '8'": '`batch.buckets` = "8": it should be an integer, without quotes',
    "name = 'n'\nbatch.max_seconds = inf": "`batch.max_seconds` = Infinity: it should be a finite number",
    "name = 'n'\nbatch.schedule = [[6]]": "`batch.schedule[0][1]` is missing; add it",
    "name = 'n'\nbatch.schedule = [[1.5, 2.0]]": "`batch.schedule[0][0]` = 1.5: it should be an integer",
    "name = 'n'\naugment.noise.snr_db = [1, 2, 3]": "`augment.noise.snr_db` = [1, 2, 3]: it should have at most "
    "2 items, not 3",
    "name = 'n'\naugment.noise = 3": "`augment.noise` = 3: it should be a table",
    "name = 'n'\naugment.spec.time_ratio = 2": "`augment.spec.time_ratio` = 2: "
    "it should be less than or equal to 1",
    "name = 'n'\nbatch.buckets = 0": "`batch.buckets` = 0: it should be greater than 0",
    "name = 'n'\naugment.noise.noise = 1.5": "`augment.noise.noise` = 1.5: it should be less than or equal to 1",
    "name = 'n'\naugment.noise.snr_db = [9.0, 3.0]": "`augment.noise.snr_db`: "
    "[9.0, 3.0] should be a range, its lower end first",
    "name = 'n'\naugment.speeds = [0.9]": "augment.speeds must begin with 1.0, the undisturbed speed",
}


@pytest.mark.parametrize("text", WRONG_IN_RECIPES)
def test_a_wrong_recipe_is_told_in_the_same_words(text: str, tmp_path: Path) -> None:
    assert refusal(Recipe, text, tmp_path) == WRONG_IN_RECIPES[text]


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(EncoderConfig, {"dropout": "x" * 1000}, "r.toml")
    assert len(str(caught.value)) < 150


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3) | st.dates(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["encoder", "blocks", "repeat", "order", "phone_head", "depth", "model_dim", "x"]
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    )
)
def test_nothing_but_a_config_error_comes_of_nonsense(value: Any) -> None:
    message = "r.toml: "
    try:
        from_dict(ModelConfig, {"encoder": value}, "r.toml")
    except ConfigError as error:
        message = str(error)
    assert message.startswith("r.toml: ")
    assert "\n" not in message
