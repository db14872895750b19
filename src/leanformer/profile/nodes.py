"""Where a graph's time goes: ONNX Runtime's own profile of its nodes, summed up by what they do."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path

import onnx

from leanformer.profile.latency import WARM_UP, median
from leanformer.profile.runner import Runner

_GROUPS = {
    "matrix products": ("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat"),
    "quantisation": ("DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear", "Cast"),
    "convolution": ("Conv", "FusedConv", "ConvInteger"),
    "normalisation": (
        "LayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization", "BatchNormalization",
    ),
    "activation": ("Relu", "Sigmoid", "QuickGelu", "Swish", "Elu", "Softplus", "Tanh"),
    "attention": ("MultiHeadAttention", "RotaryEmbedding"),
    "softmax": ("Softmax", "LogSoftmax"),
    "sums and scalings": ("Add", "Sub", "Mul", "Div", "Sum", "Pow", "Sqrt", "Exp", "ReduceSum", "ReduceMean"),
}  # fmt: skip
_GROUPS["matrix products"] += ("DynamicQuantizeMatMul",)
OTHER = "moving data"
_STEPS = 20
_KERNEL = "_kernel_time"


def time_by_kind(graph: bytes, frames: int) -> dict[str, float]:
    """Milliseconds of a step by kind of node, largest first: the sum of each node's median over some steps."""
    gates = _gates(onnx.load_from_string(graph))
    with tempfile.TemporaryDirectory(prefix="leanformer-") as folder:
        runner = Runner(graph, frames, profile_to=str(Path(folder) / "nodes"))
        for _ in range(WARM_UP + _STEPS):
            runner.step()
        events = json.loads(Path(runner.session.end_profiling()).read_text(encoding="utf-8"))
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            node = event["name"].removesuffix(_KERNEL)
            durations[node, event["args"]["op_name"]].append(event["dur"] / 1000.0)
    totals: dict[str, float] = defaultdict(float)
    for (node, kind), taken in durations.items():
        totals["activation" if node in gates else kind_of(kind)] += median(taken[WARM_UP:])
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def shares(times: dict[str, float]) -> dict[str, float]:
    """The same as shares of their sum."""
    total = sum(times.values()) or 1.0
    return {name: value / total for name, value in times.items()}


def kind_of(op_type: str) -> str:
    """What a node does, by its type."""
    return next((name for name, kinds in _GROUPS.items() if op_type in kinds), OTHER)


def _gates(model: onnx.ModelProto) -> set[str]:
    """Names of multiplications with a sigmoid: the other half of GLU and Swish."""
    sigmoids = {node.output[0] for node in model.graph.node if node.op_type == "Sigmoid"}
    return {
        node.name for node in model.graph.node if node.op_type == "Mul" and sigmoids.intersection(node.input)
    }
