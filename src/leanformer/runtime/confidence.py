"""How sure a word is: the model's own probability of its tokens, made to agree with how often such words are right.

    p = product over the word's tokens of P(token | its frame)
    logit(confidence) = a ln p - b ln(1 - p) + c

The second line is beta calibration (Kull, Silva Filho and Flach, "Beta calibration: a well-founded and easily
implemented improvement on logistic calibration for binary classifiers", AISTATS 2017). It never falls with p, as a and
b are at least 0, and a = b = 1, c = 0 leaves p as it is: that is what a bundle without a fitted map uses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

# Beyond this nothing was ever seen often enough to tell right from wrong.
SUREST = 1 - 1e-4


def evidence(log_probs: Iterable[float]) -> float:
    """The probability p of a word, from natural logarithms of its tokens' probabilities."""
    return min(max(math.exp(sum(log_probs)), 1 - SUREST), SUREST)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The map from p to confidence; all three are finite, a and b not negative."""

    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    def __post_init__(self) -> None:
        if not (all(map(math.isfinite, (self.a, self.b, self.c))) and self.a >= 0 and self.b >= 0):
            raise ValueError(
                f"a = {self.a}, b = {self.b}, c = {self.c}: expected numbers, a and b at least 0"
            )

    def __call__(self, probability: float) -> float:
        """Confidence in [0, 1] of a word whose evidence is `probability`, in (0, 1)."""
        logit = self.a * math.log(probability) - self.b * math.log1p(-probability) + self.c
        return 1 / (1 + math.exp(-max(min(logit, 100.0), -100.0)))


IDENTITY = Calibration()
