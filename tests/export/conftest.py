"""A model small enough to be exported in seconds, and its bundle, made once by the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
import torch

from leanformer.cli.app import main
from leanformer.config_toml import from_dict
from leanformer.export import export as export_module
from leanformer.export.graph import Step
from leanformer.features.spec import FeatureSpec
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel
from leanformer.text.tokenizer import Tokenizer, train_tokenizer
from leanformer.train.checkpoint import Trained, load_trained, write_checkpoint
from leanformer.train.recipe import Recipe

DATA = Path(__file__).parents[1] / "data" / "clips"
LEFT = 5
METRICS = {
    "total": {"wer": 0.4321, "wer_interval": [0.41, 0.45], "cer": 0.2, "utterances": 100},
    "corpora": {"books": {"wer": 0.4, "wer_interval": None, "cer": 0.19, "utterances": 60}},
    "split": "dev",
    "worst": [{"path": "/home/someone/clip.flac"}],
}


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def recipe(tokenizer: Tokenizer) -> Recipe:
    """All that a graph must cope with: stride 8, shared layers, no attention in one, a head that conditions."""
    block = {"ffn_dim": 24, "kernel_size": 5, "attention": {"heads": 2}}
    encoder = {
        "model_dim": 16,
        "subsampling": {"factor": 8, "channels": 4},
        "blocks": [block, {**block, "order": ["ffn", "conv", "ffn"]}],
        "layer_map": [0, 1, 0],
        "exits": [2],
    }
    values = {
        "name": "tiny",
        "model": {
            "vocabulary_size": len(tokenizer),
            "encoder": encoder,
            "phone_head": {"depth": 1, "condition": True},
        },
        "corpora": {"alignments": ["/home/someone/align.jsonl"], "exclude": ["an4"]},
        "tokenizer": {"path": "/home/someone/tokenizer.model"},
        "context": {"dev_left_context": LEFT},
    }
    return from_dict(Recipe, values, "tiny")


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Few pieces, so that the best one of a frame is best by far."""
    return train_tokenizer(["ab ba", "abba baba"], 8, "char")


@pytest.fixture(scope="session")
def checkpoint(recipe: Recipe, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `leanformer train` writes it; weights large enough for a small mistake to show."""
    torch.manual_seed(3)
    model = SpeechModel(recipe.model)
    with torch.no_grad():
        model.feature_mean.fill_(12.0)
        model.feature_std.fill_(4.0)
        for parameter in model.parameters():
            # As in a trained model, no bias is zero, and no two norms are alike.
            parameter.copy_(
                2.0 * parameter if parameter.dim() > 1 else parameter + 0.01 * torch.randn_like(parameter)
            )
    content = {
        "recipe": recipe.model_dump(mode="json"),
        "tokenizer": tokenizer.to_bytes(),
        "state_dict": {f"model.{name}": value for name, value in model.state_dict().items()},
        "global_step": 77,
    }
    path = tmp_path_factory.mktemp("run") / "step0000077.ckpt"
    write_checkpoint(content, path)
    return path


@pytest.fixture(scope="session")
def trained(checkpoint: Path) -> Trained:
    return load_trained(checkpoint)


@pytest.fixture(scope="session")
def step(trained: Trained) -> Step:
    return Step(trained.model, Context(128, LEFT))


@dataclass(frozen=True)
class Run:
    """What `leanformer export` did."""

    bundle: Path
    code: int
    said: str


@pytest.fixture(scope="session")
def run(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The one real export of these tests."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("sys.stderr", _Collector(said))
        arguments = ["export", str(checkpoint.parent), "-o", str(folder / "tiny"), "--data", str(DATA)]
        code = main([*arguments, "--licence", "CC0-1.0", "--metrics", str(folder / "metrics.json")])
    return Run(folder / "tiny", code, "".join(said))


@pytest.fixture(scope="session")
def bundle(run: Run) -> Path:
    assert run.code == 0, run.said
    return run.bundle


@pytest.fixture(scope="session")
def graph(bundle: Path) -> onnx.ModelProto:
    """The float32 graph; do not change it."""
    return onnx.load(bundle / "model.fp32.onnx")


@pytest.fixture
def without_tracing(monkeypatch: pytest.MonkeyPatch, graph: onnx.ModelProto) -> None:
    """Exports take the graph that is there already."""
    monkeypatch.setattr(export_module, "export_step", lambda step: graph)


@pytest.fixture(scope="session")
def rehash() -> Callable[[Path], None]:
    """Makes a bundle's manifest agree with its parts, whatever was done to them."""

    def write(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        for part in manifest["parts"]:
            manifest["parts"][part] = hashlib.sha256((folder / part).read_bytes()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return write


@pytest.fixture(scope="session")
def features() -> Callable[..., torch.Tensor]:
    """Noise as log-mel features (B, T, 80)."""
    generator = torch.Generator().manual_seed(5)

    def make(rows: int, frames: int) -> torch.Tensor:
        return 12.0 + 4.0 * torch.randn(rows, frames, FeatureSpec().num_mel_bins, generator=generator)

    return make


class _Collector:
    """A standard error that keeps what it gets."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def write(self, text: str) -> int:
        self._said.append(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return False
