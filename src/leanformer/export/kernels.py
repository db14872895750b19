"""Rewritings of a graph, the same function to the last bit or nearly so, for which runtimes have faster kernels.

    convolution over time    as one over (1, time): runtimes have fast depthwise kernels for images only
    ReLU behind a transpose  before it, where it becomes the epilogue of the convolution
    c (W x + b)              (c W) x + c b: the half weight of a feed-forward costs nothing; exact for powers of two
    softmax attention        one operator of ONNX Runtime, and one for turning (export/attention.py)

Measured on ONNX Runtime with lean models, the first three together 8 to 12 % of a step's time, most of it by the first.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from leanformer.export.attention import fuse_attention
from leanformer.export.index import GraphIndex, repeat
from leanformer.export.weights import drop_unused

_TIME_AXES = "time_axes"


def use_fast_kernels(model: onnx.ModelProto) -> None:
    """Rewrite a float32 graph in place."""
    fuse_attention(model)
    _widen_convolutions(model.graph)
    repeat(_activate_before_transpose, model.graph)
    repeat(_scale_weights, model.graph)
    drop_unused(model.graph)


def _widen_convolutions(graph: onnx.GraphProto) -> None:
    """(B, C, T) convolutions with a constant kernel become (B, C, 1, T) ones."""
    index = GraphIndex(graph)
    kernels = {node.input[1] for node in index.nodes if _is_over_time(node, index)}
    if not kernels:
        return
    for name in kernels:
        array = numpy_helper.to_array(index.constants[name])
        index.constants[name].CopyFrom(numpy_helper.from_array(array[:, :, None, :].copy(), name))
    graph.initializer.append(numpy_helper.from_array(np.array([2]), _TIME_AXES))
    nodes: list[onnx.NodeProto] = []
    for node in index.nodes:
        if node.op_type != "Conv" or node.input[1] not in kernels:
            nodes.append(node)
            continue
        out = node.output[0]
        wide = onnx.NodeProto.FromString(node.SerializeToString())
        wide.input[0], wide.output[0] = f"{out}_wide_in", f"{out}_wide_out"
        del wide.attribute[:]
        wide.attribute.extend(_wide_attributes(node))
        nodes += [
            helper.make_node("Unsqueeze", [node.input[0], _TIME_AXES], [wide.input[0]], f"{node.name}_widen"),
            wide,
            helper.make_node("Squeeze", [wide.output[0], _TIME_AXES], [out], f"{node.name}_narrow"),
        ]
    index.replace(nodes)


def _is_over_time(node: onnx.NodeProto, index: GraphIndex) -> bool:
    return (
        node.op_type == "Conv"
        and node.input[1] in index.constants
        and len(index.constants[node.input[1]].dims) == 3
    )


def _wide_attributes(node: onnx.NodeProto) -> list[onnx.AttributeProto]:
    """The attributes of a convolution over time for one over (1, time)."""
    found = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    for name in ("kernel_shape", "strides", "dilations"):
        if name in found:
            found[name] = [1, *found[name]]
    if "pads" in found:
        before, after = found["pads"]
        found["pads"] = [0, before, 0, after]
    return [helper.make_attribute(name, value) for name, value in found.items()]


def _activate_before_transpose(index: GraphIndex) -> bool:
    """relu(transpose(narrow(conv x))) -> transpose(narrow(relu(conv x)))."""
    for place, relu in enumerate(index.nodes):
        transpose = index.maker(relu.input[0], "Transpose") if relu.op_type == "Relu" else None
        inner = index.makers.get(transpose.input[0]) if transpose is not None else None
        if transpose is None or inner is None or index.readers[transpose.input[0]] > 1:
            continue
        chain = [transpose]  # from the last to the first that merely moves data
        if inner.op_type == "Squeeze" and (made := index.makers.get(inner.input[0])) is not None:
            chain.append(inner)
            inner = made
        if inner.op_type != "Conv" or index.readers[inner.output[0]] > 1:
            continue
        out, activated = relu.output[0], f"{inner.output[0]}_activated"
        relu.input[0], relu.output[0] = inner.output[0], activated
        chain[-1].input[0], transpose.output[0] = activated, out
        first = index.nodes.index(chain[-1])
        index.replace([*index.nodes[:first], relu, *index.nodes[first:place], *index.nodes[place + 1 :]])
        return True
    return False


def _scale_weights(index: GraphIndex) -> bool:
    """c * reshape(x W + b) -> reshape(x (c W) + c b), for constants W, b and a scalar c."""
    for node in index.nodes:
        scalars = [name for name in node.input if name in index.constants and not index.constants[name].dims]
        if node.op_type != "Mul" or len(scalars) != 1:
            continue
        value = next(name for name in node.input if name != scalars[0])
        reshape = index.maker(value, "Reshape")
        total = index.maker(value if reshape is None else reshape.input[0], "Add")
        if total is None:
            continue
        biases = [place for place, name in enumerate(total.input) if name in index.constants]
        product = index.maker(total.input[1 - biases[0]], "MatMul") if len(biases) == 1 else None
        if product is None or product.input[1] not in index.constants:
            continue
        factor = numpy_helper.to_array(index.constants[scalars[0]])
        product.input[1] = _scaled(index, product.input[1], factor)
        total.input[biases[0]] = _scaled(index, total.input[biases[0]], factor)
        (reshape if reshape is not None else total).output[0] = node.output[0]
        index.replace([one for one in index.nodes if one is not node])
        return True
    return False


def _scaled(index: GraphIndex, name: str, factor: NDArray[np.float32]) -> str:
    """The name of a constant times a factor; of one that layers share, all make the same."""
    scaled = f"{name}_times_{float(factor):g}"
    if scaled not in index.constants:
        array = numpy_helper.to_array(index.constants[name]) * factor
        index.graph.initializer.append(numpy_helper.from_array(array, scaled))
    return scaled
