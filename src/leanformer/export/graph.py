"""A streaming step as an ONNX graph.

One step is one attention chunk: frames and the state before it, in; log-probabilities and the state after it, out.
The graph is traced from the very module that trains, called as any caller would call it; nothing of the model is
written a second time.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import onnxscript  # noqa: F401 - torch's exporter needs it, and would say so only after a while
import torch
from torch import Tensor, nn
from torch.export import Dim

from leanformer.errors import ExportError
from leanformer.export.kernels import use_fast_kernels
from leanformer.export.steps import EXAMPLE_BATCH, StatefulStep, Step, input_name, output_name
from leanformer.export.weights import transpose_weights

__all__ = ["Step", "export_step", "strip", "trace"]

# The lowest that has LayerNormalization as one node; a higher one would only need a newer runtime.
OPSET = 18


def export_step(step: StatefulStep) -> onnx.ModelProto:
    """Trace `step` into a graph of dynamic batch size and number of frames.

    Raises:
        ExportError: the initial state is not all zeros, or torch's exporter cannot handle the model.
    """
    step = step.eval()
    # One tensor that stands for two inputs, as empty keys and values may, would be traced as one input.
    state = tuple(tensor.clone() for tensor in step.initial_state(EXAMPLE_BATCH))
    if any(bool(tensor.count_nonzero()) for tensor in state):
        raise ExportError("a layer's initial state is not all zeros, which is what every runtime begins with")
    x, frames = step.example()
    lengths = torch.full((EXAMPLE_BATCH,), x.shape[1])
    batch = Dim("batch", min=1, max=1 << 16)
    names = [packed.name for packed in step.packing.tensors]
    return trace(
        step,
        (x, lengths, *state),
        inputs=[*step.inputs, *map(input_name, names)],
        outputs=[*step.outputs, *map(output_name, names)],
        dynamic=({0: batch, 1: frames}, {0: batch}, tuple({0: batch} for _ in state)),
    )


def trace(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: tuple[Any, ...],
) -> onnx.ModelProto:
    """The graph of a module in evaluation mode, as runtimes want it.

    Args:
        module: takes tensors and returns tensors.
        arguments: an example of what it takes.
        inputs, outputs: names of what it takes and returns.
        dynamic: for each parameter of `forward` the axes that may have other sizes, as for `torch.onnx.export`.

    Raises:
        ExportError: torch's exporter cannot handle the module.
    """
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                module,
                arguments,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = next(
            (line for line in str(error.__cause__ or error).splitlines() if line.strip()), "no reason"
        )
        raise ExportError(f"torch's ONNX exporter failed on this model: {reason}") from error
    if program is None:
        raise ExportError("torch's ONNX exporter gave no graph; this needs torch 2.11 or later")
    model = program.model_proto
    transpose_weights(model)
    use_fast_kernels(model)
    strip(model)
    return model


def strip(model: onnx.ModelProto) -> None:
    """Take out what only a debugger reads: stack traces with paths of this machine, and intermediate shapes."""
    graph = model.graph
    parts: Sequence[onnx.NodeProto | onnx.ValueInfoProto | onnx.TensorProto] = (
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.initializer,
    )
    for part in (*parts, graph, model):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks of torchvision and of its own deprecations, which are nobody's business here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
