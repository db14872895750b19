"""Folding attention (Li et al. 2023, arXiv 2309.07988): narrow linear projections shared by parts of a frame.

A frame of D channels becomes N = `factor` consecutive sub-tokens of D / N channels:

    (B, T, D) -> (B, N T, D / N) -> inner layer -> (B, N T, D / N) -> (B, T, D)

The inner layer's matrices shrink N^2-fold and its multiply-accumulates N-fold; the scores of attention grow
N-fold, and its cache keeps its size.
"""

from typing import Any

import torch
from torch import Tensor, nn

from leanformer.layers.streaming import Context


class Folded(nn.Module):
    """An inner layer at width D / factor on `factor` sub-tokens a frame. Shapes: (B, T, D) -> (B, T, D).

    The inner layer counts sub-tokens: its chunks and left context are `factor` times as long, so that a sub-token
    sees exactly the sub-tokens of the frames that its own frame sees, and rotary positions count on from one
    sub-token to the next. A factor of 1 is the inner layer itself.
    """

    def __init__(self, inner: nn.Module, factor: int, dim: int, position: bool = True) -> None:
        """Wrap `inner`, of width dim / factor; `position` adds a learned vector to each sub-token."""
        super().__init__()
        self.inner = inner
        self.factor = factor
        # One vector (D,), of which each sub-token gets its part: not a matrix, so no optimiser takes it for one.
        self.position = nn.Parameter(torch.zeros(dim)) if position and factor > 1 else None

    def initial_state(self, batch_size: int, context: Context) -> Any:
        """The inner layer's, for a context counted in sub-tokens."""
        inside = Context(context.chunk_size * self.factor, context.left_context * self.factor)
        return self.inner.initial_state(batch_size, inside)  # type: ignore[operator]

    def forward(self, x: Tensor, lengths: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """See `Streaming.__call__`."""
        if self.position is not None:
            x = x + self.position.to(x.dtype)
        batch, size, dim = x.shape
        parts = x.reshape(batch, size * self.factor, dim // self.factor)
        y, _, state = self.inner(parts, lengths * self.factor, state)
        return y.reshape(batch, size, dim), lengths, state
