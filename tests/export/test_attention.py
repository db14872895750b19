"""Attention becomes one operator wherever it was traced, and nothing else does."""

from __future__ import annotations

from collections import Counter

import onnx
import pytest
import torch

from leanformer.config import BlockConfig, EncoderConfig, FoldConfig, ModelConfig, SoftmaxAttentionConfig
from leanformer.export import kernels
from leanformer.export.attention import fuse_attention
from leanformer.export.graph import Step, export_step
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel


@pytest.fixture(scope="module")
def unfused() -> onnx.ModelProto:
    """The graph, as it is traced, of two layers: one with four heads, one with two, folded."""
    attention = SoftmaxAttentionConfig(heads=4)
    block = BlockConfig(ffn_dim=16, kernel_size=3, attention=attention)
    folded = BlockConfig(
        **{**block.model_dump(), "fold": FoldConfig(factor=2), "attention": SoftmaxAttentionConfig(heads=2)}
    )
    config = ModelConfig(vocabulary_size=5, encoder=EncoderConfig(model_dim=16, blocks=(block, folded)))
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "fuse_attention", lambda model: 0)
        return export_step(Step(SpeechModel(config), Context(4, 6)))


@pytest.fixture
def traced(unfused: onnx.ModelProto) -> onnx.ModelProto:
    """The same with its attention fused."""
    model = onnx.ModelProto.FromString(unfused.SerializeToString())
    assert fuse_attention(model) == 2
    return model


def test_each_layer_is_one_operator_and_its_turning_two(traced: onnx.ModelProto) -> None:
    graph = traced.graph
    kinds = Counter(node.op_type for node in graph.node)
    assert (kinds["MultiHeadAttention"], kinds["RotaryEmbedding"], kinds["Softmax"]) == (2, 4, 0)
    heads = [
        onnx.helper.get_attribute_value(attribute)
        for node in graph.node
        if node.op_type == "MultiHeadAttention"
        for attribute in node.attribute
        if attribute.name == "num_heads"
    ]
    assert heads == [4, 1]  # folding by two leaves half of two heads


def test_a_second_time_there_is_nothing_left(traced: onnx.ModelProto) -> None:
    before = traced.SerializeToString()
    assert fuse_attention(traced) == 0
    assert traced.SerializeToString() == before


@pytest.mark.parametrize(("kind", "attribute", "value"), [("Softmax", "axis", 1), ("Split", "axis", 2)])
def test_what_only_looks_like_it_is_left_alone(
    unfused: onnx.ModelProto, kind: str, attribute: str, value: int
) -> None:
    model = onnx.ModelProto.FromString(unfused.SerializeToString())
    softmax = next(place for place, node in enumerate(model.graph.node) if node.op_type == "Softmax")
    nearest = next(node for node in reversed(model.graph.node[: softmax + 1]) if node.op_type == kind)
    (changed,) = [one for one in nearest.attribute if one.name == attribute]
    changed.i = value
    assert fuse_attention(model) == 1
    assert [node.op_type for node in model.graph.node].count("Softmax") == 1
