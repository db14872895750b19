"""The losses: CTC on the output, cross-entropy on aligned phones at a lower head."""

import torch
from torch import Tensor
from torch.nn import functional as F

from leanformer.model import BLANK_ID, NUM_PHONES, PHONE_SLOT_FRAMES, Outputs


def ctc_loss(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Connectionist temporal classification (Graves et al. 2006), in nats per target token.

    Args:
        log_probs: (B, T, V) float32.
        lengths: (B,) valid frames.
        targets: (B, U) token ids, padded with anything.
        target_lengths: (B,); 0 for an empty row, which counts for nothing.

    Rows whose target cannot fit their frames have an infinite loss and are left out (`zero_infinity`).
    """
    losses = F.ctc_loss(
        log_probs.transpose(0, 1),
        targets,
        lengths,
        target_lengths,
        blank=BLANK_ID,
        reduction="none",
        zero_infinity=True,
    )
    counted = (target_lengths > 0) & (losses > 0.0)  # a row that does not fit has been set to exactly 0
    return (losses * counted).sum() / (target_lengths * counted).sum().clamp(min=1)


def exits_loss(out: Outputs, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """The mean of the CTC losses at the exits below the last layer run; there must be one.

    Training with them is intermediate CTC (Lee & Watanabe 2021), and teaches each exit its output.
    """
    losses = [ctc_loss(log_probs, out.lengths, targets, target_lengths) for log_probs in out.exits.values()]
    return torch.stack(losses).mean()


def phone_loss(logits: Tensor, phones: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and accuracy on labelled slots.

    Args:
        logits: (B, T', slots, NUM_PHONES).
        phones: (B, T10ms), the phone of each feature frame, 0 where unknown.
    """
    wanted = phone_targets(phones, logits.shape[1] * logits.shape[2])
    flat, labels = logits.reshape(-1, NUM_PHONES), wanted.reshape(-1)
    known = labels > 0
    losses = F.cross_entropy(flat, labels, reduction="none")
    total = known.sum().clamp(min=1)
    right = ((flat.argmax(dim=-1) == labels) & known).sum() / total
    return (losses * known).sum() / total, right


def phone_targets(phones: Tensor, slots: int) -> Tensor:
    """The label in the middle of each slot: (B, T10ms) -> (B, slots), 0 beyond the end."""
    middles = phones[:, PHONE_SLOT_FRAMES // 2 :: PHONE_SLOT_FRAMES][:, :slots]
    return F.pad(middles, (0, slots - middles.shape[1]))


def placed_loss(
    log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, places: Tensor
) -> Tensor:
    """Cross-entropy against one known CTC path: each token in its frame, blanks elsewhere. Mean over frames.

    It leads CTC off the plateau where every frame is blank: there, CTC spreads its gradient over all frames.

    Args:
        log_probs: (B, T, V) float32.
        lengths: (B,) valid frames.
        targets, places: (B, U) tokens and their frames.
        target_lengths: (B,).
    """
    batch, frames, _ = log_probs.shape
    spoken = torch.arange(targets.shape[1], device=targets.device) < target_lengths[:, None]
    path = torch.full((batch, frames + 1), BLANK_ID, dtype=targets.dtype, device=targets.device)
    path.scatter_(1, places.masked_fill(~spoken, frames), targets)  # padding lands in a frame that is cut off
    losses = F.nll_loss(log_probs.transpose(1, 2), path[:, :frames], reduction="none")
    valid = torch.arange(frames, device=lengths.device) < lengths[:, None]
    return (losses * valid).sum() / valid.sum().clamp(min=1)
