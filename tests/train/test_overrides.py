"""Recipes changed on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from leanformer.errors import ConfigError
from leanformer.train.overrides import differences, load_recipe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "r.toml"
    path.write_text('name = "r"\n[optimizer]\npeak_rate = 1e-3\n[model.encoder]\nblocks = [{ repeat = 2 }]\n')
    return path


def test_values_replace_those_of_the_recipe(path: Path) -> None:
    recipe = load_recipe(
        path,
        [
            "optimizer.peak_rate=2e-3",
            "model.encoder.dropout=0.2",
            "batch.schedule=[[6, 128.0]]",
            "model.encoder.blocks=[{repeat=3, ffn_dim=32}]",
            'corpora.exclude=["an4"]',
            "name=other",
            "tokenizer.kind = char",
        ],
    )
    assert recipe.optimizer.peak_rate == 2e-3
    assert recipe.model.encoder.dropout == 0.2
    assert recipe.batch.schedule == ((6, 128.0),)
    assert [block.ffn_dim for block in recipe.model.encoder.blocks] == [32, 32, 32]
    assert recipe.corpora.exclude == ("an4",)
    assert (recipe.name, recipe.tokenizer.kind) == ("other", "char")


def test_the_later_of_two_counts(path: Path) -> None:
    assert load_recipe(path, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimizer.peak_rat=1", "unknown key `optimizer.peak_rat`; did you mean `peak_rate`?"),
        ("optimizer.peak_rate=fast", "it should be a number"),
        ("schedule.max_steps=0", "`schedule.max_steps` = 0: "),
        ("schedule.max_steps=1.5", "`schedule.max_steps` = 1.5"),
        ("optimizer=3", "`optimizer` = 3"),
        ("seed", "--set seed: expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("a b=3", "'a b' is no dotted key"),
        ("model.encoder.blocks.0.ffn_dim=3", "blocks is a list; give the whole list"),
    ],
)
def test_mistakes_are_explained(path: Path, change: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_recipe(path, [change])
    assert message in str(raised.value)
    assert change in str(raised.value)


def test_a_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: no such"):
        load_recipe(tmp_path / "no.toml")


def test_differences_name_each_value(path: Path) -> None:
    one, other = load_recipe(path), load_recipe(path, ["seed=3", "optimizer.betas=[0.9, 0.99]"])
    assert differences(one, one) == []
    assert differences(one, other) == ["seed: 0 -> 3", "optimizer.betas: [0.9, 0.98] -> [0.9, 0.99]"]
    # A checkpoint of an older version lacks what has been added since.
    assert differences({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}) == ["a.c: left out -> 2"]
