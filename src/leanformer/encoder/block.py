"""One block: residual sublayers in the order that its config names, then a norm."""

from typing import Any

from torch import Tensor, nn

from leanformer.config import BlockConfig, EncoderConfig
from leanformer.layers.attention import SoftmaxAttention
from leanformer.layers.convolution import Convolution
from leanformer.layers.dropout import LockedDropout
from leanformer.layers.feed_forward import FeedForward
from leanformer.layers.normalization import make_norm
from leanformer.layers.streaming import Context


class Sublayer(nn.Module):
    """x + scale * dropout(inner(norm(x))), with the inner layer's state."""

    def __init__(self, inner: nn.Module, norm: nn.Module, scale: float, dropout: float) -> None:
        super().__init__()
        self.norm = norm
        self.inner = inner
        self.scale = scale
        self.dropout = LockedDropout(dropout)

    def initial_state(self, batch_size: int, context: Context) -> Any:
        """The inner layer's."""
        return self.inner.initial_state(batch_size, context)  # type: ignore[operator]

    def forward(self, x: Tensor, lengths: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """See `Streaming.__call__`."""
        y, lengths, state = self.inner(self.norm(x), lengths, state)
        return x + self.scale * self.dropout(y), lengths, state


class Block(nn.Module):
    """A Conformer block, or any other order of the same sublayers. Shapes: (B, T, D) -> (B, T, D)."""

    def __init__(self, config: BlockConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        half_step = config.order.count("ffn") == 2
        self.sublayers = nn.ModuleList(
            Sublayer(
                make_inner(name, config, encoder),
                make_norm(encoder.norm, encoder.model_dim),
                scale=0.5 if name == "ffn" and half_step else 1.0,
                dropout=encoder.dropout,
            )
            for name in config.order
        )
        self.norm = make_norm(encoder.norm, encoder.model_dim)

    def initial_state(self, batch_size: int, context: Context) -> tuple[Any, ...]:
        """One state per sublayer."""
        return tuple(layer.initial_state(batch_size, context) for layer in self.sublayers)  # type: ignore[operator]

    def forward(
        self, x: Tensor, lengths: Tensor, state: tuple[Any, ...]
    ) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
        """See `Streaming.__call__`."""
        following = []
        for layer, before in zip(self.sublayers, state, strict=True):
            x, lengths, after = layer(x, lengths, before)
            following.append(after)
        return self.norm(x), lengths, tuple(following)


def make_inner(name: str, config: BlockConfig, encoder: EncoderConfig) -> nn.Module:
    """The layer that a sublayer name stands for, at this block's sizes."""
    if name == "ffn":
        return FeedForward(encoder.model_dim, config.ffn_dim, encoder.activation, encoder.dropout)
    if name == "attention":
        return SoftmaxAttention(encoder.model_dim, config.attention.heads)
    if name == "conv":
        return Convolution(
            encoder.model_dim, config.kernel_size, encoder.activation, encoder.conv_gate, encoder.norm
        )
    raise ValueError(f"unknown sublayer {name!r}")
