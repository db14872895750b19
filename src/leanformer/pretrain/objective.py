"""What an objective is: it reads the encoder's output, knows the targets, and judges the hidden frames."""

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Judged:
    """How well hidden frames were predicted.

    Attributes:
        loss: mean over hidden frames, a scalar; 0 where nothing is hidden.
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
            hidden: (B, T') booleans, of which only these count.
        """
        ...


def mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of values (B, T') where `chosen`, 0 if nowhere. Keeps shapes, which a selection would not."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
