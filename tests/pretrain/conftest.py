"""Runs small enough to be made in a second, on the five recordings of tests/data, whose transcripts nobody reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from leanformer.config_toml import from_dict
from leanformer.pretrain.recipe import PretrainRecipe
from leanformer.pretrain.run import pretrain

DATA = Path(__file__).parents[1] / "data"
ENCODER: dict[str, Any] = {
    "model_dim": 16,
    "subsampling": {"factor": 4, "channels": 4},
    "blocks": [{"ffn_dim": 16, "kernel_size": 5, "attention": {"heads": 2}}],
    "layer_map": [0, 0, 0],
}
TINY: dict[str, Any] = {
    "name": "tiny",
    "encoder": ENCODER,
    "objective": {"kind": "best_rq", "codes": 32, "code_dim": 4},
    "depths": [1, 3],
    "audio": {"splits": ["dev"]},
    "batch": {"batch_seconds": 12.0, "buckets": 2},
    "optimizer": {"peak_rate": 2e-3, "warmup_steps": 4, "decay_steps": 4, "average_decay": 0.9},
    "schedule": {"max_steps": 8, "dev_every_steps": 4, "checkpoint_minutes": 0},
}


def recipe(**changes: Any) -> PretrainRecipe:
    """The tiny recipe; keyword arguments replace its parts."""
    return from_dict(PretrainRecipe, {**TINY, **changes}, "tiny")


@pytest.fixture(autouse=True, scope="session")
def one_thread(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One thread, for exact sums; decoded audio in a folder of this session."""
    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    pretrain(recipe(), [DATA], run)
    return run
