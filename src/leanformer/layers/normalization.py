"""The normalisation and activation of a block, chosen by name in the config."""

import torch
from torch import Tensor, nn

from leanformer.layers.masks import valid_frames

ACTIVATIONS: dict[str, type[nn.Module]] = {"swish": nn.SiLU, "relu": nn.ReLU}
NORMS = ("layer", "batch", "batch_in_place", "none")


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
    """Batch normalisation (Ioffe & Szegedy 2015) over valid frames: padding is in no statistic.

    Statistics and arithmetic are float32 under autocast too. Shapes: (B, T, D) -> (B, T, D).
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, dim: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Normalise by the batch's own statistics in training, by the running ones otherwise."""
        mean, variance = self._batch_statistics(x, lengths) if self.training else (self.mean, self.variance)
        scale = self.weight * torch.rsqrt(variance + self.epsilon)
        return (x.float() * scale + (self.bias - mean * scale)).to(x.dtype)

    def _batch_statistics(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        valid = valid_frames(lengths, x.shape[1])[:, :, None]
        count = valid.sum().clamp(min=1)
        clean = x.float().masked_fill(~valid, 0.0)
        mean = clean.sum(dim=(0, 1)) / count
        variance = ((clean - mean).square() * valid).sum(dim=(0, 1)) / count
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        return mean, variance


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
