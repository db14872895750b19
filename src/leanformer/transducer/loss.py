"""The transducer loss without a tensor of (B, T, U, V), which in a batch of ordinary size is gigabytes.

The joiner runs on a few frames at a time, and again on the same in the backward pass. In between only two
log-probabilities of each node are kept, of a blank and of the next label: all that the lattice needs.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from leanformer.config import Factorization
from leanformer.layers.masks import valid_frames
from leanformer.transducer.factorization import arc_log_probs
from leanformer.transducer.lattice import lattice_loss

SLICE = 2**20
"""Logits made at once on a CPU: enough for fast matrix products, few enough to stay near its caches."""
SLICE_ON_DEVICE = 2**26
"""The same on other devices, where few large steps are faster."""


class Joining(Protocol):
    """What the loss asks of a joiner: projections of its two inputs, and logits (..., V) of both."""

    factorization: Factorization
    vocabulary_size: int

    def project_encoder(self, encoder_out: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, J)."""
        ...

    def project_predictor(self, predictor_out: Tensor) -> Tensor:
        """(B, U, P) -> (B, U, J)."""
        ...

    def __call__(self, encoder: Tensor, predictor: Tensor) -> Tensor:
        """Projected parts that broadcast, (..., J) each -> (..., V)."""
        ...


def transducer_loss(
    joiner: Joining,
    encoder_out: Tensor,
    predictor_out: Tensor,
    targets: Tensor,
    lengths: Tensor,
    target_lengths: Tensor,
    fast_emit: float = 0.0,
    slice_size: int | None = None,
) -> Tensor:
    """-log p(targets | frames) of each row, (B,) in nats, float32 or finer.

    Args:
        joiner: what makes logits of both outputs. It must do the same when it runs again: no dropout of its own.
        encoder_out: (B, T, D).
        predictor_out: (B, U + 1, P), the output before each label and after the last.
        targets: (B, U) ids from 1 on.
        lengths: (B,) valid frames; a row with none has loss 0.
        target_lengths: (B,) valid targets, none or more than there are frames included.
        fast_emit: see `lattice_loss`.
        slice_size: logits made at once, B * frames * (U + 1) * V; at least one frame is.

    Padding of all of them may hold anything, NaN included.
    """
    spoken = valid_frames(target_lengths, targets.shape[1])
    # Node u of a row reads the predictor's output u, up to its target length.
    read = valid_frames(target_lengths + 1, predictor_out.shape[1])
    heard = valid_frames(lengths, encoder_out.shape[1])
    # No gradient is left in padding, but 0 times NaN is NaN.
    encoder = joiner.project_encoder(encoder_out.masked_fill(~heard[:, :, None], 0.0))
    predictor = joiner.project_predictor(predictor_out.masked_fill(~read[:, :, None], 0.0))
    labels = targets.masked_fill(~spoken, 1)

    def arcs(some_frames: Tensor) -> tuple[Tensor, Tensor]:
        logits = joiner(some_frames[:, :, None], predictor[:, None])
        return arc_log_probs(logits, labels, joiner.factorization)

    if slice_size is None:
        slice_size = SLICE if encoder.device.type == "cpu" else SLICE_ON_DEVICE
    per_frame = predictor.shape[0] * predictor.shape[1] * joiner.vocabulary_size
    slices = torch.split(encoder, max(1, slice_size // max(1, per_frame)), dim=1)
    parts = [checkpoint(arcs, some_frames, use_reentrant=False) for some_frames in slices]
    log_blank, log_label = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    return lattice_loss(log_blank, log_label, lengths, target_lengths, fast_emit)


def logits_loss(
    logits: Tensor,
    targets: Tensor,
    lengths: Tensor,
    target_lengths: Tensor,
    factorization: Factorization = "softmax",
    fast_emit: float = 0.0,
) -> Tensor:
    """The same from logits (B, T, U + 1, V) that are there already; their padding must be finite."""
    spoken = valid_frames(target_lengths, targets.shape[1])
    log_blank, log_label = arc_log_probs(logits, targets.masked_fill(~spoken, 1), factorization)
    return lattice_loss(log_blank, log_label, lengths, target_lengths, fast_emit)
