"""Batch normalisation by the statistics of all processes of a distributed run, forwards and backwards.

Each process sends its count, sums and sums of squares, and in the backward pass the two sums that its own gradient
needs from all rows. Sums travel in float64: in float32, the difference of two sums of squares would lose a small
variance.
"""

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


def is_distributed() -> bool:
    """Whether more than one process trains."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def global_statistics(rows: Tensor) -> tuple[int, Tensor, Tensor]:
    """Count, mean (D,) and variance (D,), biased, float32, of the rows (N, D) of all processes; N may be 0 here."""
    values = rows.detach().float()
    mean = values.sum(dim=0) / max(1, len(values))
    deviations = (values - mean).square().sum(dim=0).double()
    sums = len(values) * mean.double()
    totals = torch.cat([sums.new_tensor([len(values)]), sums, deviations + sums * mean])
    distributed.all_reduce(totals)
    count = totals[0].clamp(min=1)
    mean, squares = (totals[1:] / count).chunk(2)
    return int(totals[0]), mean.float(), (squares - mean.square()).clamp(min=0).float()


def normalize(
    rows: Tensor, weight: Tensor, bias: Tensor, statistics: tuple[int, Tensor, Tensor], epsilon: float
) -> Tensor:
    """Rows (N, D) by `global_statistics`, whose dependence on the rows of all processes the gradient includes.

    The gradients of weight and bias are those of this process's rows: summing them up is the trainer's part, as with
    any parameter.
    """
    normalized: Tensor = _Normalize.apply(rows, weight, bias, statistics, epsilon)  # type: ignore[no-untyped-call]
    return normalized


class _Normalize(torch.autograd.Function):
    """y = weight (x - mean) / std + bias (Ioffe & Szegedy 2015, algorithm 1 and the gradients below it)."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor,
        statistics: tuple[int, Tensor, Tensor],
        epsilon: float,
    ) -> Tensor:
        count, mean, variance = statistics
        inverse = torch.rsqrt(variance + epsilon)
        ctx.save_for_backward(rows, weight, mean, inverse)
        ctx.count = count
        return ((rows.float() - mean) * inverse * weight + bias).to(rows.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        rows, weight, mean, inverse = ctx.saved_tensors
        gradient = gradient.float()
        standard = (rows.float() - mean) * inverse
        of_weight, of_bias = (gradient * standard).sum(dim=0), gradient.sum(dim=0)
        totals = torch.stack([of_weight, of_bias]).double()
        distributed.all_reduce(totals)
        slope, shift = (totals / ctx.count).float()
        of_rows = (gradient - shift - standard * slope) * (weight * inverse)
        return of_rows.to(rows.dtype), of_weight, of_bias, None, None
