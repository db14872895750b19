"""Encoders of a few thousand weights in checkpoints of both kinds, and some phones of the recordings of tests/data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from leanformer.config import EncoderConfig, ModelConfig
from leanformer.config_toml import from_dict
from leanformer.model import SpeechModel
from leanformer.pretrain.best_rq import BestRQConfig
from leanformer.pretrain.model import PretrainModel
from leanformer.pretrain.recipe import PretrainRecipe
from leanformer.text.tokenizer import train_tokenizer
from leanformer.train.checkpoint import write_checkpoint
from leanformer.train.fitting import plain
from leanformer.train.recipe import Recipe

DATA = Path(__file__).parents[1] / "data"
ENCODER: dict[str, Any] = {
    "model_dim": 16,
    "subsampling": {"factor": 4, "channels": 4},
    "blocks": [{"ffn_dim": 16, "kernel_size": 5, "attention": {"heads": 2}}],
    "layer_map": [0, 0, 0],
}


@pytest.fixture(autouse=True, scope="session")
def one_thread(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One thread, for exact sums; decoded audio in a folder of this session."""
    torch.set_num_threads(1)
    pytest.MonkeyPatch().setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A checkpoint of `pretrain`, of random weights."""
    torch.manual_seed(0)
    recipe = from_dict(PretrainRecipe, {"name": "x", "encoder": ENCODER, "objective": {"codes": 8}}, "x")
    assert isinstance(recipe.objective, BestRQConfig)
    model = PretrainModel(recipe.encoder, recipe.objective)
    model.feature_mean.fill_(10.0)
    model.feature_std.fill_(4.0)
    return save(tmp_path_factory.mktemp("pretrained"), model, plain(recipe))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A checkpoint of `train` with a phone head that conditions the layers above, of random weights."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["the cat sat on the mat", "a rat"], 13)
    encoder = from_dict(EncoderConfig, ENCODER, "x")
    config = ModelConfig.model_validate(
        {"vocabulary_size": len(tokenizer), "encoder": encoder, "phone_head": {"depth": 1}}
    )
    recipe = Recipe.model_validate(
        {"name": "x", "model": config, "corpora": {"alignments": ("alignments.jsonl",)}}
    )
    folder = tmp_path_factory.mktemp("trained")
    return save(folder, SpeechModel(config), plain(recipe), tokenizer=tokenizer.to_bytes())


def save(folder: Path, model: torch.nn.Module, recipe: dict[str, Any], **more: Any) -> Path:
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    path = folder / "step0000007.ckpt"
    write_checkpoint({"recipe": recipe, "state_dict": weights, "global_step": 7, **more}, path)
    return path


@pytest.fixture(scope="session")
def alignments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phones that stand in no relation to what is said, one for each 70 ms."""
    path = tmp_path_factory.mktemp("alignments") / "alignments.jsonl"
    names = [line.split("\t")[0] for line in (DATA / "utterances.tsv").read_text().splitlines()[1:]]
    phones = [[("AA", "S", "SIL")[place % 3], 7 * place, 7] for place in range(30)]
    path.write_text("".join(json.dumps({"id": f"data/{name}", "phones": phones}) + "\n" for name in names))
    return path
