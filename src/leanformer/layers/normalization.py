"""The normalisation and activation of a block, chosen by name in the config."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanformer.layers.synchronized import global_statistics, is_distributed, normalize
from leanformer.layers.valid_rows import ValidRows

ACTIVATIONS: dict[str, type[nn.Module]] = {"swish": nn.SiLU, "relu": nn.ReLU}
NORMS = ("layer", "batch", "batch_in_place", "none")
MOMENTUM = 0.1
"""Weight of a batch in the running statistics."""
EPSILON = 1e-5
"""Added to the variance."""


class LayerNorm(nn.LayerNorm):
    """Layer normalisation (Ba et al. 2016), called as all norms here are: norm(x, lengths)."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        """(B, T, D) -> (B, T, D); frames are independent, so `lengths` does not matter."""
        return super().forward(x)


class NoNorm(nn.Module):
    """The identity, for encoders that normalise elsewhere or nowhere."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D), unchanged."""
        return x


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) over valid frames. Shapes: (B, T, D) -> (B, T, D).

    In training, frames are normalised by the mean and variance of the batch's valid frames, those of all processes if
    there are several; padding, whatever it holds, is in no statistic, and comes out as zeros. The running
    statistics, which are used otherwise, follow by `momentum` at each call: with accumulated gradients at
    each micro-batch. A batch with less than two valid frames has no variance: it is normalised by the running ones.

    Statistics are float32 whatever the type of x; so is the arithmetic, before the result is rounded to that type.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, dim: int, momentum: float = MOMENTUM, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Normalise the frames of x; `lengths` (B,) of them are valid."""
        if not self.training:
            return self._by(x.flatten(0, 1), self.mean, self.variance).reshape(x.shape)
        valid = ValidRows(lengths, x.shape[1])
        rows = valid.take(x)
        normalized = self._by_all_processes(rows) if is_distributed() else self._by_batch(rows)
        return valid.put(normalized, x.shape[1])

    def _by(self, rows: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return F.batch_norm(rows, mean, variance, self.weight, self.bias, eps=self.epsilon)

    def _by_batch(self, rows: Tensor) -> Tensor:
        if len(rows) < 2:
            return self._by(rows, self.mean.clone(), self.variance.clone())
        parameters = self.mean, self.variance, self.weight, self.bias
        return F.batch_norm(rows, *parameters, training=True, momentum=self.momentum, eps=self.epsilon)

    def _by_all_processes(self, rows: Tensor) -> Tensor:
        count, mean, variance = global_statistics(rows)
        if count < 2:
            return self._by(rows, self.mean.clone(), self.variance.clone())
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            unbiased = variance * (count / (count - 1))  # as torch keeps it
            self.variance.lerp_(unbiased, self.momentum)
        return normalize(rows, self.weight, self.bias, (count, mean, variance), self.epsilon)


def make_norm(kind: str, dim: int) -> nn.Module:
    """What stands where a Conformer has LayerNorm; `kind` as in EncoderConfig.norm."""
    match kind:
        case "layer":
            return LayerNorm(dim)
        case "batch_in_place":
            return BatchNorm(dim)
        case "batch" | "none":
            return NoNorm()
    raise ValueError(f"unknown norm {kind!r}; known are {', '.join(NORMS)}")


def make_appended_norm(kind: str, dim: int) -> BatchNorm | None:
    """What follows every linear and convolution; `kind` as in EncoderConfig.norm."""
    return BatchNorm(dim) if kind == "batch" else None


def make_activation(kind: str) -> nn.Module:
    """The activation named by EncoderConfig.activation."""
    return ACTIVATIONS[kind]()
