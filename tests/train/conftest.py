"""A run small enough to be made in a second, on the five recordings of tests/data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from leanformer.config_toml import from_dict
from leanformer.train.checkpoint import read_checkpoint
from leanformer.train.recipe import Recipe

DATA = Path(__file__).parents[1] / "data"
TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {
        "encoder": {
            "model_dim": 16,
            "subsampling": {"factor": 4, "channels": 4},
            "blocks": [{"repeat": 2, "ffn_dim": 16, "kernel_size": 5, "attention": {"heads": 2}}],
        }
    },
    "corpora": {"train_split": "dev"},
    "tokenizer": {"kind": "char", "vocabulary_size": 30},
    "augment": {"speeds": [1.0, 1.1]},
    "batch": {"batch_seconds": 8.0, "buckets": 2},
    "optimizer": {
        "peak_rate": 2e-3,
        "warmup_steps": 5,
        "decay_steps": 4,
        "average_decay": 0.9,
        "muon": {"peak_rate": 2e-3},
    },
    "schedule": {"max_steps": 14, "dev_every_steps": 4, "checkpoint_minutes": 0},
}
TrainState = dict[str, Any]


@pytest.fixture(autouse=True, scope="session")
def one_thread(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One thread, for exact sums; decoded audio in a folder of this session."""
    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def tiny() -> Callable[..., Recipe]:
    """The tiny recipe; keyword arguments change values of its schedule."""

    def make(**schedule: Any) -> Recipe:
        return from_dict(Recipe, {**TINY, "schedule": TINY["schedule"] | schedule}, "tiny")

    return make


@pytest.fixture
def differing() -> Callable[[Path, Path], list[str]]:
    """Names of the values in which two checkpoints differ, in any bit."""

    def compare(one: Path, other: Path) -> list[str]:
        a, b = leaves(read_checkpoint(one)), leaves(read_checkpoint(other))
        assert len(a) > 100
        return [name for name in a | b if not same(a.get(name), b.get(name))]

    return compare


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return bool(one == other)


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    else:
        return {name: value}
    return {k: v for key, item in items for k, v in leaves(item, f"{name}/{key}").items()}
