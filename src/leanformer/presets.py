"""Ready-made models by name: a plain Conformer, the four papers' techniques on it, and all of them at once.

A preset is a shape (how wide, how deep) and what a technique makes of it. Sizes are those of the plain Conformer
that the technique starts from: `tiny` has about 1 M parameters, `small` 5 to 10 M, and `paper` is the paper's own
scale. That Conformer is what the technique should be compared with; its name is the preset's with `-plain` behind.
What the papers' abstracts leave open (which blocks are folded, how far the Practical Conformer is downsized) is our
choice; docs/profile.md lists these choices.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from leanformer.config import (
    AttentionConfig,
    BlockConfig,
    EncoderConfig,
    ModelConfig,
    PerformerAttentionConfig,
    SoftmaxAttentionConfig,
    SublayerName,
)
from leanformer.errors import ConfigError

SIZES = ("tiny", "small", "paper")
PLAIN = "-plain"
"""Behind the name of a preset: the plain Conformer of the same size."""

LOCAL: tuple[SublayerName, ...] = ("ffn", "conv", "ffn")
"""A convolution-only block (arXiv 2304.00171)."""
RECURRENT: tuple[SublayerName, ...] = ("ffn", "conv", "attention", "ffn")
"""A block with linear attention, in the patent's order (US 12,190,869)."""
PERFORMER_FEATURES = 64


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


@dataclass(frozen=True)
class Technique:
    """What a family of presets is: its sizes' shapes as (plain, own), where the two differ, else one for both."""

    summary: str
    build: Callable[[Shape], EncoderConfig]
    shapes: dict[str, tuple[Shape, Shape]]


@dataclass(frozen=True)
class Preset:
    """A model by name, and the plain Conformer that it is to be compared with."""

    name: str
    summary: str
    size: str
    config: ModelConfig
    plain: ModelConfig


_TINY = Shape(4, 96, 384, 4)
_SMALL = Shape(10, 192, 768, 4)
_BASELINE = Shape(17, 512, 2048, 8)


def _same(tiny: Shape, small: Shape, paper: Shape) -> dict[str, tuple[Shape, Shape]]:
    return {"tiny": (tiny, tiny), "small": (small, small), "paper": (paper, paper)}


TECHNIQUES = {
    "conformer": Technique("the plain streaming Conformer", conformer, _same(_TINY, _SMALL, _BASELINE)),
    "fusionformer": Technique(
        "BatchNorm that is fused away, ReLU, no gate",
        fusionformer,
        _same(_TINY, _SMALL, Shape(12, 256, 2048, 4)),
    ),
    "practical": Technique(
        "convolution-only lower blocks, downsized, linear attention above",
        practical,
        {
            "tiny": (_TINY, Shape(6, 96, 384, 4)),
            "small": (_SMALL, Shape(10, 192, 768, 4)),
            "paper": (_BASELINE, Shape(9, 256, 1024, 4)),
        },
    ),
    "layer-consistency": Technique(
        "one block at every depth; may be cut off at any",
        layer_consistency,
        _same(Shape(6, 192, 768, 4), Shape(12, 448, 1792, 7), Shape(12, 768, 3072, 12)),
    ),
    "folding": Technique(
        "projections of the upper blocks folded in two",
        folding,
        _same(Shape(5, 96, 384, 4), _SMALL, Shape(20, 512, 2048, 8)),
    ),
    "lean": Technique(
        "all four at once",
        lean,
        {
            "tiny": (_TINY, _TINY),
            "small": (_SMALL, Shape(6, 160, 640, 4)),
            "paper": (_BASELINE, Shape(6, 320, 960, 4)),
        },
    ),
}
_VOCABULARY = {"tiny": 128, "small": 256, "paper": 256}


def names() -> tuple[str, ...]:
    """Names of all presets."""
    return tuple(f"{technique}-{size}" for technique in TECHNIQUES for size in SIZES)


def preset(name: str) -> Preset:
    """A preset by its name, such as "conformer-small", or the plain Conformer of its size: "lean-small-plain".

    Raises:
        ConfigError: there is none of this name; the message has the nearest.
    """
    base = name.removesuffix(PLAIN)
    if base not in names():
        near = difflib.get_close_matches(base, names(), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names())}"
        raise ConfigError(f"no preset {name!r}; {hint}")
    kind, _, size = base.rpartition("-")
    technique = TECHNIQUES[kind]
    plain_shape, shape = technique.shapes[size]
    plain = ModelConfig(vocabulary_size=_VOCABULARY[size], encoder=conformer(plain_shape))
    if name != base:
        return Preset(name, f"the plain Conformer of the size of {base}", size, plain, plain)
    config = ModelConfig(vocabulary_size=_VOCABULARY[size], encoder=technique.build(shape))
    return Preset(name, technique.summary, size, config, plain)


def with_preset(values: dict[str, Any], source: str) -> dict[str, Any]:
    """The plain values of a recipe with those of the preset that it names filled in; `preset` itself is gone.

    What the recipe says goes first, key by key. A table in place of a list of tables, as in
    `model.encoder.blocks = { kernel_size = 9 }`, changes each entry of the list; a list replaces the list.

    Raises:
        ConfigError: naming `source`, if there is no such preset.
    """
    if "preset" not in values:
        return values
    rest = {key: value for key, value in values.items() if key != "preset"}
    if not isinstance(values["preset"], str):
        raise ConfigError(
            f"{source}: `preset` = {values['preset']}: it should be the name of a preset, in quotes"
        )
    try:
        model = _sparse(preset(values["preset"]).config)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    merged: dict[str, Any] = _override({"model": model}, rest)
    return merged


def _sparse(config: ModelConfig) -> dict[str, Any]:
    """A config as plain values, without what follows from its blocks: a recipe may give others."""
    values: dict[str, Any] = config.model_dump(mode="json", exclude_none=True)
    encoder = values["encoder"]
    if encoder["layer_map"] == list(range(len(encoder["blocks"]))):
        del encoder["layer_map"]
    if encoder["exits"] == [config.encoder.depth]:
        del encoder["exits"]
    encoder.pop("final_projection", None)
    return values


def _override(base: Any, changes: Any) -> Any:
    if isinstance(base, dict) and isinstance(changes, dict):
        if changes.get("kind", base.get("kind")) != base.get("kind"):
            return changes  # another kind of part has other keys
        return {**base, **{key: _override(base.get(key), value) for key, value in changes.items()}}
    if isinstance(base, list) and isinstance(changes, dict) and all(isinstance(one, dict) for one in base):
        return [_override(one, changes) for one in base]
    return changes
