"""The streaming step of a model as an ONNX graph.

One step is one attention chunk: features and the state before it, in; log-probabilities and the state after it,
out. The graph is traced from the very module that trains, called as any caller would call it; nothing of the
model is written a second time.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
import onnxscript  # noqa: F401 - torch's exporter needs it, and would say so only after a while
import torch
from torch import Tensor, nn
from torch.export import Dim

from leanformer.errors import ExportError
from leanformer.export.kernels import use_fast_kernels
from leanformer.export.packing import StatePacking
from leanformer.export.weights import transpose_weights
from leanformer.layers.streaming import Context
from leanformer.model import NUM_BINS, SpeechModel

# The lowest that has LayerNormalization as one node; a higher one would only need a newer runtime.
OPSET = 18
INPUTS = ("features", "lengths")
OUTPUTS = ("log_probs", "log_prob_lengths")
# No two of these are equal, lest the exporter take two sizes for the same.
_EXAMPLE_BATCH, _EXAMPLE_FRAMES = 2, 3


class Step(nn.Module):
    """A model with its state packed.

    Maps features (B, T, NUM_BINS), lengths (B,) and packed state to log_probs (B, T / factor, V), their lengths
    (B,) and the next packed state.
    """

    def __init__(self, model: SpeechModel, context: Context) -> None:
        """Take `context` for every stream; no step may hold more than its `chunk_size` encoder frames."""
        super().__init__()
        self.model = model
        self.context = context
        self.packing = StatePacking(model.initial_state(1, context))

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """The packed state of streams before their first frame; a runtime makes it of zeros."""
        return self.packing.pack(self.model.initial_state(batch_size, self.context))

    def forward(self, features: Tensor, lengths: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One step; returns (log_probs, log_prob_lengths, *next_state)."""
        log_probs, lengths, following = self.model(features, lengths, self.packing.unpack(state))
        return log_probs, lengths, *self.packing.pack(following)


def input_name(packed: str) -> str:
    """The graph's input for a packed state tensor."""
    return f"state_{packed}"


def output_name(packed: str) -> str:
    """The graph's output for a packed state tensor."""
    return f"next_state_{packed}"


def export_step(step: Step) -> onnx.ModelProto:
    """Trace `step` into a graph of dynamic batch size, and of any T that is a multiple of the factor.

    Raises:
        ExportError: the initial state is not all zeros, or torch's exporter cannot handle the model.
    """
    step = step.eval()
    factor = step.model.config.encoder.subsampling.factor
    # One tensor that stands for two inputs, as empty keys and values may, would be traced as one input.
    state = tuple(tensor.clone() for tensor in step.initial_state(_EXAMPLE_BATCH))
    if any(bool(tensor.count_nonzero()) for tensor in state):
        raise ExportError("a layer's initial state is not all zeros, which is what every runtime begins with")
    features = torch.zeros(_EXAMPLE_BATCH, _EXAMPLE_FRAMES * factor, NUM_BINS)
    lengths = torch.full((_EXAMPLE_BATCH,), _EXAMPLE_FRAMES * factor)
    batch = Dim("batch", min=1, max=1 << 16)
    frames = Dim("frames", min=1, max=step.context.chunk_size)
    names = [packed.name for packed in step.packing.tensors]
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                step,
                (features, lengths, *state),
                input_names=[*INPUTS, *map(input_name, names)],
                output_names=[*OUTPUTS, *map(output_name, names)],
                dynamic_shapes=({0: batch, 1: factor * frames}, {0: batch}, tuple({0: batch} for _ in state)),
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
