"""The loss of all paths through a transducer's lattice (Graves 2012, "Sequence transduction with RNNs").

Node (t, u) stands for t frames read and u labels spoken. A blank leads from (t, u) to (t + 1, u), a label to
(t, u + 1); a path runs from (0, 0) to (T, U). In logarithms, with (+) for log-add:

    alpha(t, u) = alpha(t - 1, u) + blank(t - 1, u)  (+)  alpha(t, u - 1) + label(t, u - 1)
    loss = -alpha(T, U)

beta is the same from the end, so the reversed lattices go along as further rows of the batch. The nodes of one
anti-diagonal, t + u = n, need only those of the last: each diagonal is computed at once, for all rows. The gradient
needs no graph: that of an arc's log-probability is minus the probability that a path takes it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

IMPOSSIBLE = float("-inf")


def lattice_loss(
    log_blank: Tensor, log_label: Tensor, lengths: Tensor, target_lengths: Tensor, fast_emit: float = 0.0
) -> Tensor:
    """-log of the probability of each row's labels, (B,) in nats, float32 or finer.

    Args:
        log_blank: (B, T, U + 1), at each node the log-probability of a blank.
        log_label: (B, T, U), at each node that of the next label.
        lengths: (B,) valid frames; a row with none has loss 0. What lies beyond may hold anything, NaN included.
        target_lengths: (B,) labels of each row; any number can be spoken in a frame.
        fast_emit: lambda of FastEmit (Yu et al. 2021, arXiv 2010.11148), which makes the gradients of labels
            1 + lambda times as large and leaves those of blanks. The loss returned is without it.
    """
    arguments = log_blank, log_label, lengths, target_lengths, fast_emit
    losses: Tensor = _LatticeLoss.apply(*arguments)  # type: ignore[no-untyped-call]
    return losses


class _LatticeLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        log_blank: Tensor,
        log_label: Tensor,
        lengths: Tensor,
        target_lengths: Tensor,
        fast_emit: float,
    ) -> Tensor:
        blank, label = _to_one_end(log_blank, log_label, lengths, target_lengths)
        if not any(ctx.needs_input_grad):
            return -_log_sums(blank, label)[:, -1, -1]
        reversed_too = [torch.cat([arcs, arcs.flip(1, 2)]) for arcs in (blank, label)]
        alpha, beta = _log_sums(*reversed_too).chunk(2)
        beta = beta.flip(1, 2)
        total = alpha[:, -1:, -1:]
        # Where no path is possible the loss is infinite, and there is no way to go.
        reached = total.masked_fill(total == IMPOSSIBLE, 0.0)
        takes_blank = torch.exp(alpha[:, :-1] + blank + beta[:, 1:] - reached)
        takes_label = torch.exp(alpha[:, :-1, :-1] + label[:, :-1] + beta[:, :-1, 1:] - reached)
        frames = torch.arange(blank.shape[1], device=lengths.device)
        beyond = frames >= lengths[:, None]  # (B, T): arcs that are none of the caller's
        ctx.save_for_backward(
            -takes_blank.masked_fill(beyond[:, :, None], 0.0), -(1 + fast_emit) * takes_label
        )
        return -total[:, 0, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_blank, of_label = ctx.saved_tensors
        gradient = gradient[:, None, None]
        return of_blank * gradient, of_label * gradient, None, None, None


def _to_one_end(
    log_blank: Tensor, log_label: Tensor, lengths: Tensor, target_lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Arcs (B, T, U + 1) and (B, T + 1, U) with padding replaced, so that every row's paths end at (T, U).

    From its own end a row goes on to (T, U) by the one way that is left, at no cost.
    """
    frames, places = log_blank.shape[1:]
    dtype = torch.promote_types(log_blank.dtype, torch.float32)
    spoken = torch.where(lengths > 0, target_lengths, 0)[:, None, None]
    heard = lengths[:, None, None]
    t = torch.arange(frames + 1, device=lengths.device)[:, None]
    u = torch.arange(places, device=lengths.device)
    free, impossible = (torch.tensor(x, dtype=dtype, device=lengths.device) for x in (0.0, IMPOSSIBLE))
    past = torch.where((t[:-1] >= heard) & (u == spoken), free, impossible)
    blank = torch.where((t[:-1] < heard) & (u <= spoken), log_blank.to(dtype), past)
    past = torch.where((t == frames) & (u[:-1] >= spoken), free, impossible)
    padded = F.pad(log_label.to(dtype), (0, 0, 0, 1))
    label = torch.where((t < heard) & (u[:-1] < spoken), padded, past)
    return blank, label


def _log_sums(blank: Tensor, label: Tensor) -> Tensor:
    """alpha (B, T + 1, U + 1) from arcs (B, T, U + 1) and (B, T + 1, U)."""
    batch, frames, places = blank.shape
    diagonals = frames + places
    blanks = blank.new_full((diagonals, batch, places), IMPOSSIBLE)
    labels = torch.full_like(blanks, IMPOSSIBLE)  # by the place that a label leads to
    _by_node(blanks, frames).copy_(blank)
    _by_node(labels[:, :, 1:], frames + 1).copy_(label)
    sums = blank.new_full((diagonals, batch, 1 + places), IMPOSSIBLE)  # before place 0 there is nothing
    sums[0, :, 1] = 0.0
    stayed, spoke = torch.empty_like(blanks[0]), torch.empty_like(blanks[0])
    for before, after, blank_arcs, label_arcs in zip(sums[:-1], sums[1:], blanks, labels, strict=False):
        torch.add(before[:, 1:], blank_arcs, out=stayed)
        torch.add(before[:, :-1], label_arcs, out=spoke)
        torch.logaddexp(stayed, spoke, out=after[:, 1:])
    return _by_node(sums[:, :, 1:], frames + 1)


def _by_node(diagonals: Tensor, frames: int) -> Tensor:
    """A view (B, frames, places) of (N, B, places): node (t, u) stands on diagonal t + u."""
    _, batch, places = diagonals.shape
    to_next, to_row, to_place = diagonals.stride()
    strides = to_row, to_next, to_next + to_place
    return diagonals.as_strided((batch, frames, places), strides, diagonals.storage_offset())
