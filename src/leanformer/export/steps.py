"""What is traced: a pass of a model as a function of frames, lengths and packed state.

Step         features  -> log-probabilities, and with a second pass the frames that it reads
SecondStep   frames of the first pass, with the future that they are to see -> log-probabilities
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from leanformer.errors import ExportError
from leanformer.export.packing import StatePacking
from leanformer.layers.streaming import Context
from leanformer.model import NUM_BINS, SpeechModel

ENCODER_OUT = "encoder_out"
OUTPUTS = ("log_probs", "log_prob_lengths")
# No two of these are equal, lest the exporter take two sizes for the same.
EXAMPLE_BATCH, _EXAMPLE_FRAMES = 2, 3


def input_name(packed: str) -> str:
    """The graph's input for a packed state tensor."""
    return f"state_{packed}"


def output_name(packed: str) -> str:
    """The graph's output for a packed state tensor."""
    return f"next_state_{packed}"


class StatefulStep(nn.Module, ABC):
    """Maps frames (B, T, F), lengths (B,) and packed state to `outputs` and the next packed state."""

    inputs: tuple[str, str]
    outputs: tuple[str, ...] = OUTPUTS

    def __init__(self, model: SpeechModel, context: Context) -> None:
        """Take `context` for every stream."""
        super().__init__()
        self.model = model
        self.context = context
        self.packing = StatePacking(self.begin(1))

    @abstractmethod
    def begin(self, batch_size: int) -> Any:
        """The state tree of streams before their first frame."""

    @abstractmethod
    def advance(self, x: Tensor, lengths: Tensor, state: Any) -> tuple[tuple[Tensor, ...], Any]:
        """One step: `outputs`, and the next state tree."""

    @abstractmethod
    def example(self) -> tuple[Tensor, Dim]:
        """Frames (EXAMPLE_BATCH, T, F) to trace with, and which T may stand in their place."""

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """The packed state of streams before their first frame; a runtime makes it of zeros."""
        return self.packing.pack(self.begin(batch_size))

    def forward(self, x: Tensor, lengths: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One step; returns (*outputs, *next_state)."""
        outputs, following = self.advance(x, lengths, self.packing.unpack(state))
        return *outputs, *self.packing.pack(following)


class Step(StatefulStep):
    """The first pass, or the only one.

    Maps features (B, T, NUM_BINS), of which T is a multiple of the subsampling factor and no more than
    `context.chunk_size` frames of the encoder, to log_probs (B, T / factor, V), their lengths (B,) and, for a second
    pass or a transducer to read, encoder_out (B, T / factor, D).
    """

    inputs = ("features", "lengths")

    def __init__(self, model: SpeechModel, context: Context) -> None:
        super().__init__(model, context)
        if model.second is not None or model.transducer is not None:
            self.outputs = (*OUTPUTS, ENCODER_OUT)

    def begin(self, batch_size: int) -> Any:
        """The encoder's state."""
        return self.model.initial_state(batch_size, self.context)

    def advance(self, x: Tensor, lengths: Tensor, state: Any) -> tuple[tuple[Tensor, ...], Any]:
        """See `StatefulStep`."""
        encoded, lengths, following = self.model.encode(x, lengths, state)
        told = (self.model.log_probs(encoded), lengths)
        return ((*told, encoded) if ENCODER_OUT in self.outputs else told), following

    def example(self) -> tuple[Tensor, Dim]:
        """Any number of whole encoder frames, within a chunk."""
        factor = self.model.config.encoder.subsampling.factor
        frames = Dim("frames", min=1, max=self.context.chunk_size)
        return torch.zeros(EXAMPLE_BATCH, _EXAMPLE_FRAMES * factor, NUM_BINS), factor * frames


class SecondStep(StatefulStep):
    """The second pass.

    Maps frames (B, T + lookahead, D) of the first pass, of which `lengths` (B,) are real, those of the future
    included, to log_probs (B, T, V), their lengths min(lengths, T), and the encoder_out (B, T, D) that they are of,
    for whatever reads the last pass; who does not ask for it pays nothing. T is at most one chunk. In the middle
    of a stream all frames are real; at its end fewer, and the next step goes on with what is left of them.
    """

    inputs = ("frames", "lengths")
    outputs = (*OUTPUTS, ENCODER_OUT)

    def __init__(self, model: SpeechModel) -> None:
        """Raise ExportError if `model` has no second pass."""
        if model.second is None:
            raise ExportError("this model has no second pass")
        super().__init__(model, model.second.context)

    def begin(self, batch_size: int) -> Any:
        """The layers' states."""
        assert self.model.second is not None
        return self.model.second.layers.initial_states(batch_size, self.context)

    def advance(self, x: Tensor, lengths: Tensor, state: Any) -> tuple[tuple[Tensor, ...], Any]:
        """See `StatefulStep`."""
        second = self.model.second
        assert second is not None
        count = lengths.clamp(max=x.shape[1] - second.lookahead)
        encoded, following = second.advance(x, count, lengths, state)
        return (self.model.log_probs(encoded), count, encoded), following

    def example(self) -> tuple[Tensor, Dim]:
        """Up to a chunk, and the frames that it looks ahead to."""
        assert self.model.second is not None
        ahead = self.model.second.lookahead
        frames = Dim("frames", min=1, max=max(self.context.chunk_size, _EXAMPLE_FRAMES))
        x = torch.zeros(EXAMPLE_BATCH, _EXAMPLE_FRAMES + ahead, self.model.config.encoder.model_dim)
        return x, frames + ahead if ahead else frames
