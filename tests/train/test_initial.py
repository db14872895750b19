"""A run that begins with another's weights: what fits is taken, what does not is said, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from leanformer.config_toml import from_dict
from leanformer.errors import CheckpointError, ConfigError
from leanformer.train.checkpoint import list_checkpoints, read_checkpoint
from leanformer.train.loop import train
from leanformer.train.recipe import Recipe

from .conftest import DATA, TINY

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    run = tmp_path_factory.mktemp("first") / "run"
    train(from_dict(Recipe, {**TINY, "schedule": {"max_steps": 2}}, "tiny"), [DATA], run)
    return run


def changed(**encoder: Any) -> Recipe:
    """The tiny recipe with another encoder, standing still: no step changes a weight."""
    model = {"encoder": {**TINY["model"]["encoder"], **encoder}}
    still = {"peak_rate": 0.0, "weight_decay": 0.0, "muon": {"peak_rate": 0.0}}
    values = {**TINY, "model": model, "optimizer": still, "schedule": {"max_steps": 1}}
    return from_dict(Recipe, values, "changed")


def weights(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = read_checkpoint(list_checkpoints(run)[0].path)["state_dict"]
    return found


def test_another_kind_of_attention_begins_with_the_same_projections(
    first_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    block = {**TINY["model"]["encoder"]["blocks"][0], "attention": {"kind": "performer", "heads": 2}}
    with caplog.at_level(logging.INFO):
        train(changed(blocks=[block]), [DATA], tmp_path / "run", initial=first_run, partial=True)
    given, taken = weights(first_run), weights(tmp_path / "run")
    fresh = {name for name in taken if not torch.equal(taken[name], given.get(name, torch.zeros(0)))}
    assert {name.rsplit(".", 1)[1] for name in fresh} == {"forgetting", "directions"}
    assert "tensors taken over" in caplog.text
    assert "forgetting" in caplog.text
    assert "begin afresh" in caplog.text


def test_an_encoder_that_fits_in_part_is_refused_unless_that_is_meant(
    first_run: Path, tmp_path: Path
) -> None:
    block = {**TINY["model"]["encoder"]["blocks"][0], "kernel_size": 7}
    message = r"depthwise\.weight \(16x1x5 there, 16x1x7 in the recipe\).*add --partial"
    with pytest.raises(ConfigError, match=message):
        train(changed(blocks=[block]), [DATA], tmp_path / "run", initial=first_run)
    assert not list_checkpoints(tmp_path / "run")
    train(changed(blocks=[block]), [DATA], tmp_path / "run", initial=first_run, partial=True)
    assert list_checkpoints(tmp_path / "run")


def test_a_phone_head_begins_afresh_in_an_encoder_that_had_none(
    first_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = changed()
    (tmp_path / "aligned.jsonl").write_text('{"id": "data/x", "phones": [["SIL", 0, 9]]}\n')
    values = recipe.model_dump()
    values["model"]["phone_head"] = {"depth": 1, "condition": True}
    values["corpora"]["alignments"] = [str(tmp_path / "aligned.jsonl")]
    with caplog.at_level(logging.INFO):
        train(from_dict(Recipe, values, "headed"), [DATA], tmp_path / "run", initial=first_run)
    given, taken = weights(first_run), weights(tmp_path / "run")
    fresh = {name for name in taken if not torch.equal(taken[name], given.get(name, torch.zeros(0)))}
    assert fresh
    assert all(name.startswith(("model.phone_head.", "model.encoder.taps.1.")) for name in fresh)
    assert "phone_head.classify.weight" in caplog.text.split("begin afresh")[0]


def test_a_model_of_other_sizes_is_refused(first_run: Path, tmp_path: Path) -> None:
    other = changed(model_dim=24, subsampling={"factor": 4, "channels": 6})
    message = r"no weight of this model fits.* encoder\.\S+ \(\S+ there, \S+ in the recipe\)"
    with pytest.raises(ConfigError, match=message):
        train(other, [DATA], tmp_path / "run", initial=first_run)


def test_a_folder_without_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        train(changed(), [DATA], tmp_path / "run", initial=tmp_path)
