"""What one thread of this machine can do at best: matrix products in int8 and fp32, and bytes from memory.

The limit of a model is the time that its multiply-accumulates take at these rates, or that its weights take to come
from memory if they do not fit in the last cache, whichever is longer.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from leanformer.export.quantize import quantize
from leanformer.profile.count import Counts

_ROWS, _DIM = 256, 1024
_BYTES = 128 << 20
_ROUNDS = 12


@dataclass(frozen=True)
class Machine:
    """Rates of one thread, in MACs and bytes per second; `cache_bytes` is 0 if unknown."""

    fp32_macs_per_second: float
    int8_macs_per_second: float
    memory_bytes_per_second: float
    cache_bytes: int

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def measure_machine() -> Machine:
    """Measure, in about a second; the best of several rounds counts, as a limit should."""
    fp32 = _product_graph()
    int8, _ = quantize(fp32)
    macs = _ROWS * _DIM * _DIM
    return Machine(macs / _best(fp32), macs / _best(int8), _memory_rate(), _cache_bytes())


def limit_ms(counts: Counts, precision: str, machine: Machine) -> float:
    """Milliseconds that a step takes at least on a machine."""
    int8 = precision == "int8"
    linear = sum(work.linear_macs for work in counts.work.values())
    other = sum(work.other_macs for work in counts.work.values())
    rate = machine.int8_macs_per_second if int8 else machine.fp32_macs_per_second
    computing = linear / rate + other / machine.fp32_macs_per_second
    size = counts.weight_bytes(precision)
    reading = size / machine.memory_bytes_per_second if size > machine.cache_bytes else 0.0
    return 1000.0 * max(computing, reading)


def _product_graph() -> onnx.ModelProto:
    weight = np.random.default_rng(0).standard_normal((_DIM, _DIM)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"], "product")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [_ROWS, _DIM])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [_ROWS, _DIM])],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])


def _best(model: onnx.ModelProto) -> float:
    """Seconds of the fastest run of a graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {"x": np.random.default_rng(1).standard_normal((_ROWS, _DIM)).astype(np.float32)}
    return min(_seconds(lambda: session.run(None, given)) for _ in range(_ROUNDS))


def _memory_rate() -> float:
    """Bytes per second: reading alone, or copying (each byte read and written), whichever is faster."""
    source = np.ones(_BYTES // 4, np.float32)
    target = np.zeros_like(source)
    reading = min(_seconds(source.max) for _ in range(_ROUNDS))
    copying = min(_seconds(lambda: np.copyto(target, source)) for _ in range(_ROUNDS))
    return max(_BYTES / reading, 2 * _BYTES / copying)


def _seconds(action: object) -> float:
    start = time.perf_counter()
    action()  # type: ignore[operator]
    return time.perf_counter() - start


def _cache_bytes() -> int:
    """The last cache's size, as the system tells it; 0 if it does not."""
    try:
        return max(0, os.sysconf("SC_LEVEL3_CACHE_SIZE"), os.sysconf("SC_LEVEL2_CACHE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return 0
