"""One block: residual sublayers in the order that its config names, then a norm."""

from typing import Any

from torch import Tensor, nn

from leanformer.config import BlockConfig, EncoderConfig, PerformerAttentionConfig, SoftmaxAttentionConfig
from leanformer.layers.attention import SoftmaxAttention
from leanformer.layers.convolution import Convolution
from leanformer.layers.dropout import LockedDropout
from leanformer.layers.feed_forward import FeedForward
from leanformer.layers.folding import Folded
from leanformer.layers.normalization import make_norm
from leanformer.layers.performer import Performer
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
        y, lengths, state = self.inner(self.norm(x, lengths), lengths, state)
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
        return self.norm(x, lengths), lengths, tuple(following)


def make_inner(name: str, config: BlockConfig, encoder: EncoderConfig) -> nn.Module:
    """The layer that a sublayer name stands for, at this block's sizes, folded if the block says so."""
    factor = config.fold.of(name)
    dim = encoder.model_dim // factor
    match name:
        case "ffn":
            hidden = config.ffn_dim // factor
            inner: nn.Module = FeedForward(dim, hidden, encoder.activation, encoder.dropout, encoder.norm)
        case "attention":
            inner = make_attention(dim, config, encoder)
        case "conv":
            inner = Convolution(dim, config.kernel_size, encoder.activation, encoder.conv_gate, encoder.norm)
        case _:
            raise ValueError(f"unknown sublayer {name!r}")
    return inner if factor == 1 else Folded(inner, factor, encoder.model_dim, config.fold.position)


def make_attention(dim: int, config: BlockConfig, encoder: EncoderConfig) -> nn.Module:
    """The attention that a block's config names, at width `dim`."""
    heads = config.folded_heads()
    match config.attention:
        case SoftmaxAttentionConfig():
            return SoftmaxAttention(
                dim, heads, encoder.norm, (config.left_context or 0) * config.fold.of("attention")
            )
        case PerformerAttentionConfig(features=features, seed=seed):
            return Performer(dim, heads, features, seed, encoder.norm, config.fold.of("attention"))
