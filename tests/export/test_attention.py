"""Attention becomes one operator wherever it was traced, and nothing else does."""

from __future__ import annotations

from collections import Counter

import onnx
import pytest
import torch

from leanformer.config import BlockConfig, EncoderConfig, FoldConfig, ModelConfig, SoftmaxAttentionConfig
from leanformer.export.attention import fuse_attention
from leanformer.export.graph import Step, export_step
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel


@pytest.fixture(scope="module")
def traced() -> onnx.ModelProto:
    """The graph of two layers: one with four heads, one with two, folded."""
    attention = SoftmaxAttentionConfig(heads=4)
    block = BlockConfig(ffn_dim=16, kernel_size=3, attention=attention)
    folded = BlockConfig(
        **{**block.model_dump(), "fold": FoldConfig(factor=2), "attention": SoftmaxAttentionConfig(heads=2)}
    )
    config = ModelConfig(vocabulary_size=5, encoder=EncoderConfig(model_dim=16, blocks=(block, folded)))
    torch.manual_seed(0)
    return export_step(Step(SpeechModel(config), Context(4, 6)))


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


@pytest.mark.parametrize("change", ["no mask", "another axis"])
def test_what_only_looks_like_it_is_left_alone(change: str) -> None:
    text = """
        <ir_version: 9, opset_import: ["": 18]>
        agraph (float[b, h, t, d] q, float[b, h, d, t] k, float[b, h, t, d] v, float[b, 1, t, t] hidden)
            => (float[b, h, t, d] y) {
            scores = MatMul (q, k)
            masked = SUM (scores, hidden)
            weights = Softmax <axis = AXIS> (masked)
            y = MatMul (weights, v)
        }
    """
    text = text.replace("SUM", "Add" if change == "another axis" else "Mul")
    model = onnx.parser.parse_model(text.replace("AXIS", "2" if change == "another axis" else "-1"))
    assert fuse_attention(model) == 0
    assert [node.op_type for node in model.graph.node].count("Softmax") == 1
