"""What an objective is: it reads the encoder's output, knows the targets, and judges the hidden frames.

    L = mean loss over hidden frames + shown_weight * mean loss over shown ones,

as in HuBERT (Hsu et al. 2021, arXiv 2106.07447, section II.B), which weighs the two. With 0, hidden frames alone count.
"""

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from leanformer.config import Frozen
from leanformer.config_types import NotNegative


class ShownConfig(Frozen):
    """What objectives have in common."""

    shown_weight: NotNegative = 0.0
    """Of the loss at frames that were shown. With little audio it is what keeps upper layers in touch with the sound:
    they are then asked about every frame."""


@dataclass(frozen=True)
class Judged:
    """How well frames were predicted.

    Attributes:
        loss: a scalar, as above; 0 where nothing counts.
        figures: what else is worth a curve, by name.
        code_counts: (N,) how often each code is the target of a valid frame, for an objective that has codes.
    """

    loss: Tensor
    figures: dict[str, Tensor] = field(default_factory=dict)
    code_counts: Tensor | None = None


class Objective(Protocol):
    """A module that is trained along with the encoder, and left behind afterwards."""

    def __call__(self, encoded: Tensor, targets: Tensor, lengths: Tensor, hidden: Tensor) -> Judged:
        """Judge a batch.

        Args:
            encoded: (B, T', D) what the encoder made of features with hidden frames.
            targets: (B, T', factor F) from `targets.py`, nothing hidden.
            lengths: (B,) whole encoder frames.
            hidden: (B, T') booleans; all other valid frames were shown.
        """
        ...


def mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of values (B, T') where `chosen`, 0 if nowhere. Keeps shapes, which a selection would not."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
