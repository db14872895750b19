"""The valid frames of a padded batch as the rows of a matrix, and back; both differentiable.

Whole rows are copied by one index each, forwards and backwards; torch's own gradient of an index would add them up
element by element. A batch without padding is not copied at all.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from leanformer.layers.masks import valid_frames


class ValidRows:
    """Which frames of (B, T) are valid.

    `count` of them; `taken` (count,) are their places among the B T frames, `padding` (B T - count,) the others', and
    `source` (B T,) is the row that each frame comes from (any row for padding).
    """

    def __init__(self, lengths: Tensor, size: int) -> None:
        """Take (B,) lengths of rows of `size` frames."""
        valid = valid_frames(lengths, size).flatten()
        self.taken = valid.nonzero()[:, 0]
        self.count = len(self.taken)
        self.full = self.count == len(valid)
        self.padding = (~valid).nonzero()[:, 0]
        self.source = (valid.cumsum(0) - 1).clamp(min=0)

    def take(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (count, D)."""
        frames = x.flatten(0, 1)
        return frames if self.full else _Take.apply(frames, self)  # type: ignore[no-untyped-call]

    def put(self, rows: Tensor, size: int) -> Tensor:
        """(count, D) -> (B, T = size, D), zero in padding."""
        frames: Tensor = rows if self.full else _Put.apply(rows, self)  # type: ignore[no-untyped-call]
        return torch.unflatten(frames, 0, (-1, size))


def _take(frames: Tensor, rows: ValidRows) -> Tensor:
    return frames.index_select(0, rows.taken)


def _put(taken: Tensor, rows: ValidRows) -> Tensor:
    if rows.count == 0:
        return taken.new_zeros(len(rows.source), taken.shape[1])
    return taken.index_select(0, rows.source).index_fill_(0, rows.padding, 0.0)


class _Take(torch.autograd.Function):
    """`_take`, whose transpose is `_put`."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, rows: ValidRows) -> Tensor:
        ctx.rows = rows
        return _take(frames, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _put(gradient, ctx.rows), None


class _Put(torch.autograd.Function):
    """`_put`, whose transpose is `_take`."""

    @staticmethod
    def forward(ctx: Any, taken: Tensor, rows: ValidRows) -> Tensor:
        ctx.rows = rows
        return _put(taken, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _take(gradient, ctx.rows), None
