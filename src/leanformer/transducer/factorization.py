"""From the joiner's logits (..., V) to log-probabilities; token 0 is the blank.

`softmax`: one softmax over all tokens (Graves 2012). `hat`: with z the logits,

    p(blank) = sigmoid(z_0)        p(label k) = (1 - p(blank)) softmax(z_1, ..., z_(V-1))_k

(Variani et al. 2020, arXiv 2003.07705), which keeps what is said apart from when, so that the labels' softmax without
the encoder is the language model that the transducer has learned.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from leanformer.config import Factorization

CACHED = 2**17
"""Logits worked on at once on a CPU, which are few enough to stay in its cache."""


def log_probs(logits: Tensor, factorization: Factorization) -> Tensor:
    """(..., V) -> (..., V), float32 or finer."""
    logits = _full_precision(logits)
    if factorization == "softmax":
        return logits.log_softmax(dim=-1)
    blank = logits[..., :1]
    labels = F.logsigmoid(-blank) + logits[..., 1:].log_softmax(dim=-1)
    return torch.cat([F.logsigmoid(blank), labels], dim=-1)


def label_log_probs(logits: Tensor) -> Tensor:
    """(..., V) -> (..., V - 1), given that it is a label and not a blank; float32 or finer."""
    return _full_precision(logits[..., 1:]).log_softmax(dim=-1)


def arc_log_probs(logits: Tensor, targets: Tensor, factorization: Factorization) -> tuple[Tensor, Tensor]:
    """The log-probabilities that a lattice needs, of blanks (B, T, U + 1) and of the next labels (B, T, U).

    Args:
        logits: (B, T, U + 1, V), kept for the backward pass; nothing else of this size is.
        targets: (B, U) ids from 1 on; padding must hold such ids too.
    """
    nodes = logits.shape[:-1]
    labels = F.pad(targets, (0, 1), value=1)[:, None].expand(nodes)  # after the last there is nothing to say
    arguments = logits.flatten(0, 2), labels.flatten(), factorization == "hat"
    blank, label = _ArcLogProbs.apply(*arguments)  # type: ignore[no-untyped-call]
    return blank.view(nodes), label.view(nodes)[:, :, :-1]


class _ArcLogProbs(torch.autograd.Function):
    """Logits (N, V) and labels (N,) -> log-probabilities of blanks (N,) and of the labels (N,)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, hat: bool) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(logits, labels)
        ctx.hat = hat
        rows = _rows_at_once(logits)
        parts = [
            _pick(_full_precision(some), its_labels[:, None], hat)
            for some, its_labels in zip(torch.split(logits, rows), torch.split(labels, rows), strict=True)
        ]
        blank, label = torch.cat(parts).unbind(dim=1)
        return blank.contiguous(), label.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_blank: Tensor, of_label: Tensor) -> tuple[Tensor, None, None]:
        logits, labels = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        # One pass over the logits for all terms; autograd would make a tensor of their size for each.
        rows = _rows_at_once(logits)
        for begin in range(0, len(logits), rows):
            part = slice(begin, begin + rows)
            columns = (x[part, None] for x in (labels, of_blank, of_label))
            gradient[part] = _gradient(_full_precision(logits[part]), ctx.hat, *columns)
        return gradient, None, None


def _pick(logits: Tensor, labels: Tensor, hat: bool) -> Tensor:
    """(N, V), (N, 1) -> (N, 2)."""
    if hat:
        blank = logits[:, :1]
        label = logits[:, 1:].log_softmax(dim=-1).gather(1, labels - 1)
        return torch.cat([F.logsigmoid(blank), F.logsigmoid(-blank) + label], dim=1)
    found = logits.log_softmax(dim=-1)
    return torch.cat([found[:, :1], found.gather(1, labels)], dim=1)


def _gradient(logits: Tensor, hat: bool, labels: Tensor, of_blank: Tensor, of_label: Tensor) -> Tensor:
    """(N, V), columns (N, 1) -> (N, V)."""
    if hat:
        gradient = torch.empty_like(logits)
        torch.mul(logits[:, 1:].softmax(dim=-1), -of_label, out=gradient[:, 1:])
        blank = logits[:, :1].sigmoid()
        gradient[:, :1] = of_blank * (1.0 - blank) - of_label * blank
    else:
        gradient = logits.softmax(dim=-1).mul_(-(of_blank + of_label))
        gradient[:, :1] += of_blank
    return gradient.scatter_add_(1, labels, of_label)


def _full_precision(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _rows_at_once(logits: Tensor) -> int:
    rows, vocabulary = logits.shape
    return max(1, CACHED // vocabulary if logits.device.type == "cpu" else rows)
