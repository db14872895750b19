"""A transducer's predictor and joiner as two ONNX graphs, for the searches of the runtime to call.

    predictor   tokens (N,), state               -> predictor_out (N, J), next state
    joiner      encoder_out (N, D), predictor_out -> log_probs (N, V), label_log_probs (N, V - 1)

What the predictor gives is projected already, once for each token instead of once for each frame. Both stay float32:
they are a few hundred kilobytes, and for the few rows of a search a quantised product is no faster.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from leanformer.export.graph import trace
from leanformer.export.steps import EXAMPLE_BATCH, input_name, output_name
from leanformer.transducer.transducer import Transducer

PREDICTOR, JOINER = "predictor.onnx", "joiner.onnx"


class PredictorStep(nn.Module):
    """One token for each of N hypotheses: the predictor, and the joiner's projection of what it gives."""

    def __init__(self, transducer: Transducer) -> None:
        super().__init__()
        self.transducer = transducer
        example = vars(transducer.predictor.initial_state(1))
        self.kind: Any = type(transducer.predictor.initial_state(1))
        self.carried = {name: value for name, value in example.items() if value.numel()}
        """The state's tensors by name, of one hypothesis; one that holds nothing is not carried. As in every graph,
        state is float32 outside, which holds every token's number exactly.
        """

    def forward(self, tokens: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Returns (predictor_out, *next_state)."""
        given = vars(self.transducer.predictor.initial_state(tokens.shape[0]))
        for (name, like), value in zip(self.carried.items(), state, strict=True):
            given[name] = value.to(like.dtype)
        y, following = self.transducer.predictor(tokens[:, None], self.kind(**given))
        projected = self.transducer.joiner.project_predictor(y[:, 0])
        return projected, *(getattr(following, name).float() for name in self.carried)


class JoinerStep(nn.Module):
    """Scores of the next token after each of N pairs of frame and hypothesis."""

    def __init__(self, transducer: Transducer) -> None:
        super().__init__()
        self.joiner = transducer.joiner

    def forward(self, encoder_out: Tensor, predictor_out: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (log_probs, label_log_probs)."""
        encoder = self.joiner.project_encoder(encoder_out)
        return self.joiner.log_probs(encoder, predictor_out), self.joiner.label_log_probs(predictor_out)


@dataclass(frozen=True)
class Decoder:
    """The two graphs, and what a manifest says of them."""

    predictor: onnx.ModelProto
    joiner: onnx.ModelProto
    manifest: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write both into a bundle's folder."""
        for graph, name in ((self.predictor, PREDICTOR), (self.joiner, JOINER)):
            onnx.checker.check_model(graph)
            onnx.save(graph, folder / name)


def export_transducer(transducer: Transducer, encoder_dim: int) -> Decoder:
    """Trace both parts, for any number of hypotheses.

    Raises:
        ExportError: torch's exporter cannot handle them.
    """
    predictor, joiner = PredictorStep(transducer).eval(), JoinerStep(transducer).eval()
    rows = {0: Dim("rows", min=1, max=1 << 16)}
    size = EXAMPLE_BATCH
    state = tuple(torch.zeros(size, *value.shape[1:]) for value in predictor.carried.values())
    names = list(predictor.carried)
    spoken = trace(
        predictor,
        (torch.ones(size, dtype=torch.long), *state),
        inputs=["tokens", *map(input_name, names)],
        outputs=["predictor_out", *map(output_name, names)],
        dynamic=(rows, tuple(rows for _ in state)) if state else (rows,),
    )
    width = transducer.config.joint_dim
    joined = trace(
        joiner,
        (torch.zeros(size, encoder_dim), torch.zeros(size, width)),
        inputs=["encoder_out", "predictor_out"],
        outputs=["log_probs", "label_log_probs"],
        dynamic=(rows, rows),
    )
    told = [
        {
            "input": input_name(name),
            "output": output_name(name),
            "shape": ["batch", *value.shape[1:]],
            "dtype": "float32",
        }
        for name, value in predictor.carried.items()
    ]
    return Decoder(spoken, joined, {"predictor": PREDICTOR, "joiner": JOINER, "state": told})
