"""Weights as runtimes and the quantiser want them: constants, in the order in which a product reads them."""

import numpy as np
import onnx
from onnx import numpy_helper


def transpose_weights(model: onnx.ModelProto) -> int:
    """Turn each node that transposes a weight into a transposed weight, in place; returns how many there were.

    Torch's exporter does so itself, but not to a weight that several layers share. Left as they are, products with
    shared weights look like products of two activations, and would silently stay float32 in the int8 graph.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    made: dict[tuple[str, tuple[int, ...]], str] = {}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if node.op_type != "Transpose" or node.input[0] not in weights:
            kept.append(node)
            continue
        array = numpy_helper.to_array(weights[node.input[0]])
        order = _order(node, array.ndim)
        key = node.input[0], order
        if key not in made:
            made[key] = node.output[0]
            graph.initializer.append(
                numpy_helper.from_array(np.ascontiguousarray(array.transpose(order)), node.output[0])
            )
        renamed[node.output[0]] = made[key]
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    count = len(graph.node) - len(kept)
    del graph.node[:]
    graph.node.extend(kept)
    drop_unused(graph)
    return count


def matrices(model: onnx.ModelProto) -> set[str]:
    """Names of the constants with two axes: what a product can read as int8."""
    return {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}


def drop_unused(graph: onnx.GraphProto) -> None:
    """Take out the constants that no node reads, in place."""
    used = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)


def _order(node: onnx.NodeProto, axes: int) -> tuple[int, ...]:
    given = next((tuple(one.ints) for one in node.attribute if one.name == "perm"), None)
    return given or tuple(reversed(range(axes)))
