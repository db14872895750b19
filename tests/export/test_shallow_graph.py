"""A shared, folded model that is cut off at an exit and fused: as a graph, it streams as the model does."""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch

from leanformer.compress.fuse import fuse
from leanformer.compress.shallow import shallow
from leanformer.config import (
    BlockConfig,
    EncoderConfig,
    FoldConfig,
    ModelConfig,
    SoftmaxAttentionConfig,
    SubsamplingConfig,
)
from leanformer.export.graph import Step, export_step
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel


@torch.no_grad()
def test_a_model_cut_off_and_fused_streams_as_a_graph() -> None:
    block = BlockConfig(
        order=("attention", "conv"),  # fewer nodes, and so less time to export
        kernel_size=3,
        attention=SoftmaxAttentionConfig(heads=4),
        fold=FoldConfig(factor=2),
    )
    encoder = EncoderConfig(
        model_dim=96,
        subsampling=SubsamplingConfig(channels=2),
        blocks=(block,),
        layer_map=(0, 0, 0),
        exits=(2,),
        norm="batch",
        activation="relu",
        conv_gate="none",
    )
    torch.manual_seed(0)
    model = SpeechModel(ModelConfig(vocabulary_size=7, encoder=encoder, exit_heads="own"))
    model.train_outputs(torch.randn(4, 64, 80), torch.full((4,), 64), Context(16, 0))  # statistics
    cut = fuse(shallow(model.eval(), 2))
    step = Step(cut, Context(4, 6))
    graph = export_step(step)

    kinds = {node.op_type for node in graph.graph.node}
    assert not kinds & {"BatchNormalization", "LayerNormalization"}
    # What both layers share is stored once: the convolution module's pointwise D x D, too large to be folded away.
    shapes = [tuple(tensor.dims) for tensor in graph.graph.initializer]
    assert shapes.count((96, 96)) == 3, "two in the block, and the final projection"

    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    theirs = step.initial_state(2)
    ours = [tensor.numpy() for tensor in theirs]
    for part in torch.randn(2, 48, 80).split(16, dim=1):
        lengths = torch.tensor([16, 16])
        expected, _, *theirs_next = step(part, lengths, *theirs)
        found, _, *ours = session.run(
            None, dict(zip(names, [part.numpy(), lengths.numpy(), *ours], strict=True))
        )
        theirs = tuple(theirs_next)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
