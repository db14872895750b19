"""A linear classifier, fitted to the end: multinomial logistic regression by L-BFGS.

Unlike a few epochs of gradient steps it has no rate to tune, so that features of any kind are judged alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

L2 = 1e-4
"""Of the squared weights, beside the mean cross-entropy of standardised features."""


@dataclass(frozen=True)
class LinearClassifier:
    """Standardises (n, D) features by `mean` and `std` (D,), then applies `weight` (C, D) and `bias` (C,)."""

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The class of each row: (n,)."""
        return F.linear((x - self.mean) / self.std, self.weight, self.bias).argmax(dim=-1)


def fit_linear(x: Tensor, labels: Tensor, classes: int, iterations: int = 100) -> LinearClassifier:
    """Fit to features (n, D) and labels (n,) in [0, classes). The same input gives the same classifier."""
    mean, std = x.mean(dim=0), x.std(dim=0).clamp(min=1e-5)
    standard = (x - mean) / std
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(standard, weight, bias), labels) + L2 * weight.square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return LinearClassifier(mean, std, weight.detach(), bias.detach())
