"""int8: counted, and never silently nothing."""

from __future__ import annotations

import onnx
import onnx.parser
import pytest

from leanformer.errors import ExportError
from leanformer.export.quantize import quantize


def test_every_product_with_constant_weights_is_quantised(graph: onnx.ModelProto) -> None:
    constants = {tensor.name for tensor in graph.graph.initializer}
    products = [node for node in graph.graph.node if node.op_type in ("MatMul", "Gemm")]
    weighted = [node for node in products if node.input[1] in constants]
    before = graph.SerializeToString()
    quantized, count = quantize(graph)
    assert count == len(weighted) > 20
    # Products of activations with one another are within attention, and stay as they are.
    attention = [
        [node.op_type for node in one.graph.node].count("MultiHeadAttention") for one in (graph, quantized)
    ]
    assert attention == [2, 2]
    assert graph.SerializeToString() == before
    assert quantized.ByteSize() < len(before)


def test_a_graph_without_such_products_is_an_error() -> None:
    graph = """
        <ir_version: 8, opset_import: ["" : 18]>
        sum (float[batch, 4] x, float[4, batch] y) => (float[batch, batch] z) { z = MatMul (x, y) }
    """
    with pytest.raises(ExportError, match="not one node was quantised"):
        quantize(onnx.parser.parse_model(graph))
