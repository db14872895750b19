"""A bundle gives back the weights that it was made of: bit for bit in float32, within their seven bits in int8."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from leanformer.errors import ExportError
from leanformer.export.graph import Step
from leanformer.export.recover import recover_weights
from leanformer.train.checkpoint import Trained
from leanformer.train.initial import read_initial


def test_the_float32_graph_gives_back_every_weight(
    trained: Trained, step: Step, graph: onnx.ModelProto
) -> None:
    expected = trained.model.state_dict()
    found = recover_weights(graph, trained.recipe.model, step.context)
    assert found.keys() == {name for name, value in expected.items() if value.is_floating_point()}
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


def test_the_int8_graph_gives_back_seven_bits(trained: Trained, step: Step, bundle: Path) -> None:
    expected = trained.model.state_dict()
    found = recover_weights(onnx.load(bundle / "model.int8.onnx"), trained.recipe.model, step.context)
    assert found.keys() == {name for name, value in expected.items() if value.is_floating_point()}
    rounded = {name for name, value in found.items() if not torch.equal(value, expected[name])}
    assert any(name.startswith("encoder.blocks.") for name in rounded)
    for name in rounded:
        largest = expected[name].abs().amax(dim=1, keepdim=True)  # of each output channel
        assert ((found[name] - expected[name]).abs() <= largest / 126).all(), name


def test_a_graph_of_another_model_is_refused(trained: Trained, step: Step, graph: onnx.ModelProto) -> None:
    encoder = trained.recipe.model.encoder.model_copy(update={"layer_map": (0, 1)})
    other = trained.recipe.model.model_copy(update={"encoder": encoder})
    with pytest.raises(ExportError, match="cannot be told apart"):
        recover_weights(graph, other, step.context)


def test_a_bundle_is_something_to_begin_with(trained: Trained, bundle: Path) -> None:
    initial = read_initial(bundle)
    assert initial.source == str(bundle)
    assert initial.tokenizer.to_bytes() == trained.tokenizer.to_bytes()
    assert torch.equal(initial.weights["output.weight"], trained.model.output.weight)
