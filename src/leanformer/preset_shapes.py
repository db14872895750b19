"""Shapes of stacks of blocks, and what each technique makes of one: the parts that presets are put together from."""

from dataclasses import dataclass
from typing import Any

from leanformer.config import (
    AttentionConfig,
    BlockConfig,
    EncoderConfig,
    PerformerAttentionConfig,
    SecondPassConfig,
    SoftmaxAttentionConfig,
    SublayerName,
)

LOCAL: tuple[SublayerName, ...] = ("ffn", "conv", "ffn")
"""A convolution-only block (arXiv 2304.00171)."""
RECURRENT: tuple[SublayerName, ...] = ("ffn", "conv", "attention", "ffn")
"""A block with linear attention, in the patent's order (US 12,190,869)."""
PERFORMER_FEATURES = 64
SECOND_CHUNK, LOOKAHEAD = 16, 8
"""In encoder frames: a frame of the second pass sees at most 15 + 8 of 40 ms after itself, 920 ms."""


@dataclass(frozen=True)
class Shape:
    """Widths and depth of a stack of blocks."""

    depth: int
    model_dim: int
    ffn_dim: int
    heads: int
    kernel_size: int = 15

    def block(self, attention: AttentionConfig | None = None, **changes: Any) -> BlockConfig:
        """A block of this shape, with some of its values changed."""
        chosen = attention or SoftmaxAttentionConfig(heads=self.heads)
        return BlockConfig(
            **{
                "ffn_dim": self.ffn_dim,
                "kernel_size": self.kernel_size,
                "attention": chosen.model_dump(),
                **changes,
            }
        )

    def recurrent(self, **changes: Any) -> BlockConfig:
        """A block with linear attention in softmax's place."""
        attention = PerformerAttentionConfig(heads=self.heads, features=PERFORMER_FEATURES)
        return self.block(attention, order=RECURRENT, **changes)

    def local(self, **changes: Any) -> BlockConfig:
        """A block that only convolves."""
        return self.block(order=LOCAL, **changes)


def conformer(shape: Shape) -> EncoderConfig:
    """The plain Conformer: LayerNorm, Swish, GLU, softmax attention (Gulati et al. 2020)."""
    return EncoderConfig(model_dim=shape.model_dim, blocks=(shape.block(),) * shape.depth)


def fusionformer(shape: Shape) -> EncoderConfig:
    """BatchNorm after every linear and convolution, ReLU, no gate (arXiv 2210.17079)."""
    return EncoderConfig(
        model_dim=shape.model_dim,
        blocks=(shape.block(),) * shape.depth,
        norm="batch",
        activation="relu",
        conv_gate="none",
    )


def practical(shape: Shape) -> EncoderConfig:
    """Convolution-only lower two thirds with half the feed-forward, linear attention above (arXiv 2304.00171)."""
    upper = shape.depth // 3
    lower = shape.local(ffn_dim=shape.ffn_dim // 2)
    return EncoderConfig(
        model_dim=shape.model_dim, blocks=(lower,) * (shape.depth - upper) + (shape.recurrent(),) * upper
    )


def layer_consistency(shape: Shape) -> EncoderConfig:
    """One block with LayerNorm at every depth; it may be cut off at any (arXiv 2105.00812)."""
    return EncoderConfig(
        model_dim=shape.model_dim, blocks=(shape.block(),), layer_map=(0,) * shape.depth, exits=()
    )


def folding(shape: Shape, factor: int = 2, folded: int | None = None) -> EncoderConfig:
    """The plain Conformer with its upper blocks folded, by default two fifths of them (arXiv 2309.07988)."""
    upper = shape.depth * 2 // 5 if folded is None else folded
    blocks = (shape.block(),) * (shape.depth - upper) + (shape.block(fold=factor),) * upper
    return EncoderConfig(model_dim=shape.model_dim, blocks=blocks)


def lean(shape: Shape) -> EncoderConfig:
    """All four: blocks that only convolve, then linear attention; folded, shared in pairs, BatchNorm to be fused."""
    local, recurrent = shape.local(fold=2), shape.recurrent(fold=2)
    pairs = shape.depth // 2
    return EncoderConfig(
        model_dim=shape.model_dim,
        blocks=(local,) * (pairs - pairs // 2) + (recurrent,) * (pairs // 2),
        layer_map=tuple(depth // 2 for depth in range(2 * pairs)),
        norm="batch",
        activation="relu",
        conv_gate="none",
    )


def full_second(shape: Shape, depth: int) -> SecondPassConfig:
    """A second pass of plain Conformer blocks with softmax attention."""
    return SecondPassConfig(blocks=(shape.block(),) * depth, chunk_size=SECOND_CHUNK, lookahead=LOOKAHEAD)


def lean_second(shape: Shape, depth: int) -> SecondPassConfig:
    """A second pass that is folded and shared as `lean` is; softmax, as linear attention sees nothing ahead."""
    return SecondPassConfig(
        blocks=(shape.block(fold=2),) * (depth // 2),
        layer_map=tuple(layer // 2 for layer in range(depth)),
        chunk_size=SECOND_CHUNK,
        lookahead=LOOKAHEAD,
    )
