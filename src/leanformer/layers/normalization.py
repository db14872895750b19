"""The normalisation and activation of a block, chosen by name in the config."""

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"swish": nn.SiLU, "relu": nn.ReLU}


def make_norm(kind: str, dim: int) -> nn.Module:
    """The normalisation over the last axis of (B, T, dim); `kind` as in EncoderConfig.norm."""
    if kind == "layer":
        return nn.LayerNorm(dim)
    raise ValueError(f"unknown norm {kind!r}")


def make_activation(kind: str) -> nn.Module:
    """The activation named by EncoderConfig.activation."""
    return ACTIVATIONS[kind]()
