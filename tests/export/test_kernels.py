"""Rewritten graphs compute the same, with fewer and faster nodes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from leanformer.export.kernels import use_fast_kernels

DIM, TIME = 16, 9
RANDOM = np.random.default_rng(0)


def graph(*nodes: onnx.NodeProto, shape: tuple[int, ...] = (TIME, DIM), **weights: object) -> onnx.ModelProto:
    """A graph from x (batch, *shape) to y."""
    made = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", None, None])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(made, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    onnx.checker.check_model(model)
    return model


def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], f"make_{output}", **attributes)


def weight(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def run(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = [2, *session.get_inputs()[0].shape[1:]]
    given = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    return np.asarray(session.run(None, {"x": given})[0])


def rewritten(model: onnx.ModelProto, tolerance: float = 1e-5) -> list[str]:
    """The kinds of nodes after rewriting, which must not change what the graph computes."""
    before = run(model)
    use_fast_kernels(model)
    onnx.checker.check_model(model)
    np.testing.assert_allclose(run(model), before, rtol=tolerance, atol=tolerance)
    return [one.op_type for one in model.graph.node]


def depthwise(**attributes: object) -> onnx.NodeProto:
    return node("Conv", "turned kernel bias", "convolved", group=DIM, **attributes)


@pytest.mark.parametrize(
    "attributes",
    [{}, {"kernel_shape": [3], "strides": [2], "dilations": [1], "pads": [2, 0]}, {"dilations": [2]}],
)
def test_convolutions_over_time_become_convolutions_of_images(attributes: dict[str, object]) -> None:
    model = graph(
        node("Transpose", "x", "turned", perm=[0, 2, 1]),
        depthwise(**attributes),
        node("Transpose", "convolved", "y", perm=[0, 2, 1]),
        kernel=weight(DIM, 1, 3),
        bias=weight(DIM),
    )
    assert rewritten(model) == ["Transpose", "Unsqueeze", "Conv", "Squeeze", "Transpose"]
    assert {one.name: len(one.dims) for one in model.graph.initializer}["kernel"] == 4


def test_a_kernel_that_layers_share_is_widened_once() -> None:
    model = graph(
        node("Conv", "x kernel", "hidden", group=DIM),
        node("Conv", "hidden kernel", "y", group=DIM),
        shape=(DIM, TIME),
        kernel=weight(DIM, 1, 3),
    )
    assert rewritten(model) == ["Unsqueeze", "Conv", "Squeeze"] * 2


def test_convolutions_of_images_stay() -> None:
    model = graph(
        node("Unsqueeze", "x axis", "image"),
        node("Conv", "image kernel", "convolved"),
        node("Squeeze", "convolved axis", "y"),
        axis=np.array([1]),
        kernel=weight(1, 1, 3, 3),
    )
    assert rewritten(model) == ["Unsqueeze", "Conv", "Squeeze"]


def test_relu_follows_its_convolution() -> None:
    model = graph(
        node("Transpose", "x", "turned", perm=[0, 2, 1]),
        depthwise(),
        node("Transpose", "convolved", "back", perm=[0, 2, 1]),
        node("Relu", "back", "y"),
        kernel=weight(DIM, 1, 3),
        bias=weight(DIM),
    )
    assert rewritten(model) == ["Transpose", "Unsqueeze", "Conv", "Relu", "Squeeze", "Transpose"]


def test_relu_stays_where_the_transposed_is_needed_too() -> None:
    model = graph(
        node("Transpose", "x", "turned", perm=[0, 2, 1]),
        depthwise(),
        node("Transpose", "convolved", "back", perm=[0, 2, 1]),
        node("Relu", "back", "positive"),
        node("Add", "positive back", "y"),
        kernel=weight(DIM, 1, 3),
        bias=weight(DIM),
    )
    assert rewritten(model)[-3:] == ["Transpose", "Relu", "Add"]


@pytest.mark.parametrize("reshaped", [False, True])
def test_half_weight_goes_into_the_weights(reshaped: bool) -> None:
    weights = {"matrix": weight(DIM, DIM), "bias": weight(DIM), "half": np.float32(0.5)}
    if reshaped:
        weights["parts"] = np.array([0, -1, DIM // 2])
    model = graph(
        node("MatMul", "x matrix", "product"),
        node("Add", "bias product", "total"),
        *([node("Reshape", "total parts", "folded")] if reshaped else []),
        node("Mul", "folded half" if reshaped else "total half", "y"),
        **weights,
    )
    assert rewritten(model, tolerance=0.0) == ["MatMul", "Add", *["Reshape"] * reshaped]
    assert "half" not in {one.name for one in model.graph.initializer}


def test_a_shared_matrix_is_scaled_once_and_kept_where_it_is_not_scaled() -> None:
    model = graph(
        node("MatMul", "x matrix", "p1"),
        node("Add", "p1 bias", "t1"),
        node("Mul", "t1 half", "h1"),
        node("MatMul", "h1 matrix", "p2"),
        node("Add", "p2 bias", "t2"),
        node("Mul", "half t2", "h2"),
        node("MatMul", "h2 matrix", "p3"),
        node("Add", "p3 bias", "y"),
        matrix=weight(DIM, DIM),
        bias=weight(DIM),
        half=np.float32(0.5),
    )
    assert "Mul" not in rewritten(model)
    assert sum(list(one.dims) == [DIM, DIM] for one in model.graph.initializer) == 2


def test_a_product_that_is_also_read_unscaled_stays() -> None:
    model = graph(
        node("MatMul", "x matrix", "product"),
        node("Add", "product bias", "total"),
        node("Mul", "total half", "halved"),
        node("Add", "halved total", "y"),
        matrix=weight(DIM, DIM),
        bias=weight(DIM),
        half=np.float32(0.5),
    )
    assert "Mul" in rewritten(model)
