"""Weights that layers share reach the int8 graph, once, and what cannot be int8 stays as it was."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from leanformer.export.quantize import quantize
from leanformer.export.weights import matrices, transpose_weights

DIM = 16


def graph(*nodes: onnx.NodeProto, **weights: np.ndarray) -> onnx.ModelProto:
    """A graph from x (B, 3, DIM) to y."""
    made = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, DIM])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", None, None])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(made, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])


def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], f"make_{output}", **attributes)


def run(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = np.random.default_rng(1).standard_normal((2, 3, DIM)).astype(np.float32)
    return np.asarray(session.run(None, {"x": given})[0])


@pytest.fixture
def shared() -> onnx.ModelProto:
    """One weight, transposed for each of two layers, as torch's exporter leaves it."""
    weight = np.random.default_rng(0).standard_normal((DIM, DIM)).astype(np.float32)
    return graph(
        node("Transpose", "weight", "first", perm=[1, 0]),
        node("MatMul", "x first", "hidden"),
        node("Transpose", "weight", "second", perm=[1, 0]),
        node("MatMul", "hidden second", "y"),
        weight=weight,
    )


def test_a_shared_weight_is_transposed_once(shared: onnx.ModelProto) -> None:
    expected = run(shared)
    assert transpose_weights(shared) == 2
    onnx.checker.check_model(shared)
    assert [one.op_type for one in shared.graph.node] == ["MatMul", "MatMul"]
    assert len(shared.graph.initializer) == 1
    np.testing.assert_allclose(run(shared), expected, rtol=1e-5)


def test_a_shared_weight_becomes_one_int8_weight(shared: onnx.ModelProto) -> None:
    transpose_weights(shared)
    quantized, count = quantize(shared)
    assert count == 2
    assert (
        sum(one.data_type == TensorProto.INT8 and len(one.dims) == 2 for one in quantized.graph.initializer)
        == 1
    )


def test_transposes_of_activations_stay(shared: onnx.ModelProto) -> None:
    model = graph(node("Transpose", "x", "y", perm=[0, 2, 1]))
    assert transpose_weights(model) == 0
    assert run(model).shape == (2, DIM, 3)


def test_products_with_stacks_of_matrices_stay_float() -> None:
    values = np.random.default_rng(0).standard_normal((2, DIM, DIM)).astype(np.float32)
    model = graph(
        node("MatMul", "x matrix", "hidden"),
        node("MatMul", "hidden stack", "y"),
        matrix=values[0],
        stack=values,
    )
    assert matrices(model) == {"matrix"}
    quantized, count = quantize(model)
    assert count == 1
    np.testing.assert_allclose(run(quantized), run(model), rtol=0.1, atol=1.0)
