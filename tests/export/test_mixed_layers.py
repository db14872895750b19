"""A graph of layers that remember differently: own left contexts, folded, linear attention, convolution alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from leanformer.config import (
    BlockConfig,
    EncoderConfig,
    FoldConfig,
    ModelConfig,
    PerformerAttentionConfig,
    SoftmaxAttentionConfig,
    SubsamplingConfig,
)
from leanformer.export.graph import Step, export_step
from leanformer.export.quantize import quantize
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel

CHUNK, LEFT = 4, 5
LINEAR = PerformerAttentionConfig(heads=2, features=6)
SOFTMAX = BlockConfig(order=("attention",), attention=SoftmaxAttentionConfig(heads=2))
BLOCKS = (
    BlockConfig(order=("conv",), kernel_size=3),
    SOFTMAX,
    SOFTMAX.model_copy(update={"left_context": 2}),
    SOFTMAX.model_copy(update={"fold": FoldConfig(factor=2)}),
    SOFTMAX.model_copy(update={"attention": LINEAR}),
    SOFTMAX.model_copy(update={"attention": LINEAR, "fold": FoldConfig(factor=4, keep="heads")}),
)
SCHEDULE = ([16, 16], [16, 0], [16, 16], [16, 16], [9, 16], [0, 3])
"""Feature frames of each row, step by step."""


@pytest.fixture(scope="module")
def mixed() -> Step:
    config = EncoderConfig(
        model_dim=16,
        subsampling=SubsamplingConfig(channels=2),
        blocks=BLOCKS,
    )
    torch.manual_seed(2)
    model = SpeechModel(ModelConfig(vocabulary_size=5, encoder=config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0 if parameter.dim() > 1 else 1.0)
    return Step(model, Context(CHUNK, LEFT))


@pytest.fixture(scope="module")
def mixed_graph(mixed: Step) -> onnx.ModelProto:
    return export_step(mixed)


def stream(graph: onnx.ModelProto, step: Step, x: torch.Tensor, forget: bool = False) -> float:
    """The largest difference between torch and the graph over all steps; of state, relative to its size."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    theirs = step.initial_state(len(x))
    ours = [np.zeros_like(tensor.numpy()) for tensor in theirs]
    found = 0.0
    for number, lengths in enumerate(SCHEDULE):
        part = x[:, number * 16 : (number + 1) * 16]
        with torch.no_grad():
            log_probs, valid, *theirs = step(part, torch.tensor(lengths), *theirs)
        if forget:
            ours = [np.zeros_like(one) for one in ours]
        given = dict(zip(names, (part.numpy(), np.array(lengths), *ours), strict=True))
        our_log_probs, our_valid, *ours = session.run(None, given)
        assert our_valid.tolist() == valid.tolist()
        rows = np.arange(our_log_probs.shape[1]) < our_valid[:, None]
        differences = [log_probs.numpy()[rows] - our_log_probs[rows]]
        differences += [
            (a.numpy() - b) / max(1.0, float(a.abs().max())) for a, b in zip(theirs, ours, strict=True)
        ]
        found = max(found, *(float(np.abs(one).max()) for one in differences))
    return found


def test_a_stream_through_the_graph_is_a_stream_through_torch(
    mixed: Step, mixed_graph: onnx.ModelProto, features: Callable[..., torch.Tensor]
) -> None:
    x = features(2, 16 * len(SCHEDULE))
    assert stream(mixed_graph, mixed, x) < 1e-4
    assert stream(mixed_graph, mixed, x, forget=True) > 0.1


def test_the_packed_steps_are_the_models_own_offline(
    mixed: Step, features: Callable[..., torch.Tensor]
) -> None:
    x = features(1, 16 * 6)
    state, found = mixed.initial_state(1), []
    with torch.no_grad():
        for part in torch.split(x, 16, dim=1):
            log_probs, _, *state = mixed(part, torch.tensor([16]), *state)
            found.append(log_probs)
        expected, _, _ = mixed.model(
            x, torch.tensor([x.shape[1]]), mixed.model.initial_state(1, mixed.context)
        )
    assert torch.allclose(torch.cat(found, dim=1), expected, atol=1e-4)


def test_the_int8_graph_runs(
    mixed: Step, mixed_graph: onnx.ModelProto, features: Callable[..., torch.Tensor]
) -> None:
    small, count = quantize(mixed_graph)
    assert count > 0
    x = features(2, 16 * len(SCHEDULE))
    x[...] = x[:1, :1]  # no more than a smoke test: what rounding costs is for real speech to tell
    assert np.isfinite(stream(small, mixed, x))


def test_the_performers_state_depends_on_no_context(mixed: Step) -> None:
    shapes = [
        {packed.name: packed.shape for packed in Step(mixed.model, Context(CHUNK, left)).packing.tensors}
        for left in (LEFT, 50)
    ]
    sums = [{name: shape for name, shape in one.items() if "sums" in name} for one in shapes]
    assert sums[0] == sums[1] == {"layers_4_0_sums": (2, 6, 9), "layers_5_0_sums": (2, 6, 3)}
    assert shapes[0] != shapes[1]
