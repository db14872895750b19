"""The cascade (arXiv 2010.14606): a second pass that reads the first one's output, and some of its future.

    features -> first: words at once          every step
                  | what it gives, held back until `lookahead` frames after a chunk are there
                  v
                second: words that stay       every chunk

The first pass runs as it would alone. The second is a stack of the same layers behind a convolution over the
future, so nothing is ever computed twice, and its state, like any, is a value: what the layers remember, and the
frames that still wait.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from leanformer.config import EncoderConfig, SecondPassConfig
from leanformer.encoder.encoder import Encoder, EncoderState
from leanformer.encoder.stack import Layers
from leanformer.layers.lookahead import Lookahead
from leanformer.layers.masks import valid_frames
from leanformer.layers.streaming import Context, state


@state
class SecondPassState:
    """`layers` one per depth; `pending` (B, chunk_size - 1 + lookahead, D), the first `waiting` (B,) of them real."""

    layers: tuple[Any, ...]
    pending: Tensor
    waiting: Tensor
    chunk_size: int


class SecondPass(nn.Module):
    """Encoder output (B, T, D) -> (B, T', D), later: a chunk comes out when `lookahead` frames after it are there.

    A step may hold any number of frames. `finish` gives the rest, to which the future is silent.
    """

    def __init__(self, config: SecondPassConfig, layers: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.lookahead = config.lookahead
        self.future = Lookahead(layers.model_dim, config.lookahead)
        self.layers = Layers(layers)

    @property
    def context(self) -> Context:
        """How far attention sees, in streaming."""
        return Context(self.config.chunk_size, self.config.left_context)

    def initial_state(self, batch_size: int, context: Context | None = None) -> SecondPassState:
        """The state before the first frame; by default in the context of the config."""
        context = context or self.context
        places = context.chunk_size - 1 + self.lookahead
        like = next(self.layers.parameters())
        return SecondPassState(
            self.layers.initial_states(batch_size, context),
            like.new_zeros(batch_size, places, self.layers.config.model_dim),
            like.new_zeros(batch_size, dtype=torch.long),
            context.chunk_size,
        )

    def forward(
        self, x: Tensor, lengths: Tensor, state: SecondPassState
    ) -> tuple[Tensor, Tensor, SecondPassState]:
        """As `Streaming.__call__`, but for the output's lengths: those of the chunks that are complete."""
        chunk, places = state.chunk_size, state.pending.shape[1]
        total = state.waiting + lengths
        frames = _append(state.pending, state.waiting, x, lengths)
        ready = (total - self.lookahead).clamp(min=0) // chunk * chunk
        size = (frames.shape[1] - self.lookahead) // chunk * chunk
        y, layers = self.advance(frames[:, : size + self.lookahead], ready, total, state.layers)
        rest = _from(frames, ready, places)
        return y, ready, SecondPassState(layers, rest, total - ready, chunk)

    def finish(self, state: SecondPassState) -> tuple[Tensor, Tensor]:
        """What was held back, (B, T', D) with lengths (B,); the stream is over."""
        y, _ = self._to_the_end(state.pending, state.waiting, state.layers)
        return y, state.waiting

    def whole(self, x: Tensor, lengths: Tensor, context: Context) -> Tensor:
        """Whole utterances (B, T, D) -> (B, T, D): what a step and `finish` give, in any context."""
        y, _ = self._to_the_end(x, lengths, self.layers.initial_states(len(x), context))
        return y

    def advance(
        self, x: Tensor, lengths: Tensor, seen: Tensor, layers: tuple[Any, ...]
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """Run the layers on the first `lengths` (B,) frames of x (B, T + lookahead, D), of which `seen` (B,) are real.

        Returns (B, T, D) and the layers' states.
        """
        y = self.future(x, seen)
        outputs, layers = self.layers.run_layers(y, lengths, layers)
        depth = self.layers.config.depth
        return self.layers.final(outputs[depth], lengths, depth), layers

    def _to_the_end(
        self, x: Tensor, lengths: Tensor, layers: tuple[Any, ...]
    ) -> tuple[Tensor, tuple[Any, ...]]:
        silence = x.new_zeros(len(x), self.lookahead, x.shape[2])
        return self.advance(torch.cat([x, silence], dim=1), lengths, lengths, layers)


@state
class CascadeState:
    """Both passes' states."""

    first: EncoderState
    second: SecondPassState


@dataclass(frozen=True)
class Passes:
    """What a step gave: `first` (B, T', D) with `first_lengths` (B,), and as much of `second` as is ready."""

    first: Tensor
    first_lengths: Tensor
    second: Tensor
    second_lengths: Tensor


class Cascade(nn.Module):
    """An encoder and a second pass on its output, which is all that the second pass reads.

    Features (B, T, num_bins) -> `Passes`. A frame of the second pass comes out when its chunk and `lookahead`
    encoder frames after that are there, so at most `delay` encoder frames after the first pass gave it.
    """

    def __init__(self, first: Encoder, second: SecondPass) -> None:
        super().__init__()
        self.first = first
        self.second = second

    @property
    def lookahead(self) -> int:
        """Encoder frames beyond its own chunk that a frame of the second pass sees."""
        return self.second.lookahead

    @property
    def delay(self) -> int:
        """Encoder frames between the first of a chunk and the moment when the second pass gives it."""
        return self.second.config.chunk_size + self.lookahead

    def initial_state(self, batch_size: int, context: Context) -> CascadeState:
        """The state before the first frame; `context` is the first pass's, in encoder frames."""
        return CascadeState(
            self.first.initial_state(batch_size, context), self.second.initial_state(batch_size)
        )

    def forward(self, x: Tensor, lengths: Tensor, state: CascadeState) -> tuple[Passes, CascadeState]:
        """One step of the first pass, and of the second whatever has become ready."""
        y, lengths, first = self.first(x, lengths, state.first)
        z, ready, second = self.second(y, lengths, state.second)
        return Passes(y, lengths, z, ready), CascadeState(first, second)

    def finish(self, state: CascadeState) -> tuple[Tensor, Tensor]:
        """What the second pass held back, (B, T', D) with lengths (B,); the stream is over."""
        return self.second.finish(state.second)


def _append(pending: Tensor, waiting: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
    """Per row the `waiting` first frames of `pending` (B, P, D), then `lengths` of x (B, T, D), then zeros."""
    places, size = pending.shape[1], pending.shape[1] + x.shape[1]
    at = torch.arange(size, device=x.device).expand(len(x), -1)
    source = torch.where(at < waiting[:, None], at, at - waiting[:, None] + places).clamp(max=size - 1)
    frames = _gather(torch.cat([pending.to(x.dtype), x], dim=1), source)
    return frames.masked_fill(~valid_frames(waiting + lengths, size)[:, :, None], 0.0)


def _from(frames: Tensor, starts: Tensor, count: int) -> Tensor:
    """`count` frames of each row of (B, T, D) from `starts` (B,) on, zeros beyond the end."""
    extended = torch.cat([frames, frames.new_zeros(len(frames), count, frames.shape[2])], dim=1)
    return _gather(extended, starts[:, None] + torch.arange(count, device=frames.device))


def _gather(frames: Tensor, places: Tensor) -> Tensor:
    """Frames (B, T, D) at places (B, N) -> (B, N, D)."""
    rows = torch.arange(len(frames), device=frames.device)[:, None] * frames.shape[1]
    return frames.flatten(0, 1)[rows + places]
