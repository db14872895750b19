"""Dynamic int8: weights of matrix products as int8, activations quantised as they come.

Only MatMul and Gemm: a quantised convolution is slower on CPU, and these small ones hold next to no weights.

Weights get a scale for each output channel, and seven bits: x86 processors without VNNI (most of before 2020)
add up pairs of products in 16 bits, where eight-bit weights overflow. Measured on a half-trained model of 12
layers, that would have falsified 12 % of all sums there; the eighth bit gains nothing that speech would show.
"""

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from leanformer.errors import ExportError
from leanformer.export.graph import strip
from leanformer.export.weights import matrices

_KINDS = ["MatMul", "Gemm"]
_QUANTIZED = "MatMulInteger"


def quantize(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """An int8 copy of a float32 graph, and how many of its nodes were quantised.

    Raises:
        ExportError: no node was quantised, which a change of node types by some other pass can cause silently.
    """
    given = onnx.ModelProto()
    given.CopyFrom(model)
    # Without this mark, the quantiser asks on the log to run its pre-processing, which here changes nothing.
    given.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with tempfile.TemporaryDirectory(prefix="leanformer-") as folder:
        target = Path(folder) / "int8.onnx"
        quantize_dynamic(
            given,
            target,
            op_types_to_quantize=_KINDS,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=_batched(given),
            # The standard's type inference stops at ONNX Runtime's own operators.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        quantized = onnx.load(target)
    strip(quantized)
    count = sum(node.op_type == _QUANTIZED for node in quantized.graph.node)
    if count == 0:
        raise ExportError(
            f"int8: not one node was quantised; the graph has no {' or '.join(_KINDS)} with constant weights"
        )
    return quantized, count


def _batched(model: onnx.ModelProto) -> list[str]:
    """Products with a constant of three axes and more, such as a Performer's directions: the runtime has no int8
    product with a scale for each column there, and fails only when it runs.
    """
    constants = {tensor.name for tensor in model.graph.initializer} - matrices(model)
    return [
        node.name
        for node in model.graph.node
        if node.op_type in _KINDS and any(name in constants for name in node.input[:2])
    ]
