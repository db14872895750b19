"""A model with BatchNorm is exported without: the graph is that of a model which never had any."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import pytest
import torch

from leanformer.config_toml import from_dict, load_toml
from leanformer.errors import CompressError
from leanformer.export.export import Exported, export
from leanformer.export.graph import Step, export_step
from leanformer.layers.normalization import BatchNorm
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.checkpoint import Trained
from leanformer.train.recipe import Recipe

NORMS = {"BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"}


@dataclass(frozen=True)
class Run:
    """What was exported, and what came out."""

    trained: Trained
    bundle: Path
    made: Exported


@pytest.fixture(scope="module")
def run(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    encoder = {
        "model_dim": 16,
        "subsampling": {"factor": 8, "channels": 4},
        "blocks": [{"ffn_dim": 24, "kernel_size": 5, "attention": {"heads": 2}}],
        "norm": "batch",
        "activation": "relu",
        "conv_gate": "none",
    }
    model = {"vocabulary_size": len(tokenizer), "encoder": encoder}
    recipe = from_dict(Recipe, {"name": "tiny", "model": model, "tokenizer": {"path": "/a/b.model"}}, "tiny")
    torch.manual_seed(3)
    made = SpeechModel(recipe.model)
    with torch.no_grad():
        made.feature_mean.fill_(12.0)
        made.feature_std.fill_(4.0)
        made.output.weight.mul_(8.0)  # few frames where two labels are nearly equal
        for module in made.modules():
            if isinstance(module, BatchNorm):
                module.mean.normal_()
                module.variance.uniform_(0.2, 4.0)
    trained = Trained(made.eval(), recipe, tokenizer, 7)
    folder = tmp_path_factory.mktemp("fused") / "bundle"
    return Run(trained, folder, export(trained, folder))


@pytest.fixture(scope="module")
def graph(run: Run) -> onnx.ModelProto:
    return onnx.load(run.bundle / "model.fp32.onnx")


def kinds(graph: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in graph.graph.node)


def test_the_graph_has_no_norm_and_nothing_that_is_left_of_one(run: Run, graph: onnx.ModelProto) -> None:
    """Node by node it has what the graph of a model has that was made without norms.

    Unfused, there would be a BatchNormalization for each of them.
    """
    assert not NORMS & kinds(graph).keys()
    config = run.trained.model.config
    encoder = config.encoder.model_copy(update={"norm": "none"})
    bare = SpeechModel(config.model_copy(update={"encoder": encoder})).eval()
    context = Context(128, run.trained.recipe.context.dev_left_context)
    assert kinds(graph) == kinds(export_step(Step(bare, context)))


def test_the_graph_was_verified_against_the_model_with_its_norms(run: Run) -> None:
    found = {check.key: check.value for check in run.made.checks}
    assert 0.0 < found["fp32_max"] < 1e-4
    assert 0.0 < found["offline_max"] < 1e-4


def test_the_config_is_that_of_the_graph_and_says_so(run: Run) -> None:
    text = (run.bundle / "config.toml").read_text()
    assert text.startswith("# This is the model as it runs")
    assert "/a/" not in text
    encoder = load_toml(Recipe, run.bundle / "config.toml").model.encoder
    assert (encoder.norm, encoder.final_projection) == ("none", "own")
    assert encoder.model_copy(update={"norm": "batch"}) == run.trained.recipe.model.encoder


def test_the_given_model_keeps_its_norms(run: Run) -> None:
    assert run.trained.recipe.model.encoder.norm == "batch"
    assert (
        sum(isinstance(module, BatchNorm) for module in run.trained.model.modules()) == 10
    )  # nine and the final one


def test_what_cannot_be_fused_is_not_exported(run: Run, tmp_path: Path) -> None:
    broken = SpeechModel(run.trained.recipe.model).eval()
    broken.encoder.blocks[0].get_submodule("sublayers.0.inner.expand.norm").get_buffer("variance").fill_(-1.0)
    with pytest.raises(CompressError, match=r"sublayers\.0\.inner\.expand\.norm: fusing it"):
        export(replace(run.trained, model=broken), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
