"""Ready-made models by name: a plain Conformer, the four papers' techniques on it, and all of them at once.

A preset is a shape (how wide, how deep) and what a technique makes of it: `tiny` has about 1 M parameters, `small`
5 to 10 M, and `paper` is the paper's own scale. Beside each stands the plain Conformer that it is to be compared
with, by the preset's name with `-plain` behind: of the same shape, but for `lean`, which undercuts a larger one.
`practical` and `lean` are cascades, whose first pass alone goes by the preset's name with `-first` behind.
What the papers' abstracts leave open (which blocks are folded, how far the Practical Conformer is downsized) is our
choice; docs/profile.md lists these choices.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from leanformer.config import EncoderConfig, ModelConfig, SecondPassConfig
from leanformer.errors import ConfigError
from leanformer.preset_shapes import (
    Shape,
    conformer,
    folding,
    full_second,
    fusionformer,
    layer_consistency,
    lean,
    lean_second,
    practical,
)

SIZES = ("tiny", "small", "paper")
PLAIN = "-plain"
"""Behind the name of a preset: the plain Conformer of the same size."""
FIRST = "-first"
"""Behind the name of a preset that has a second pass: the same without it."""


@dataclass(frozen=True)
class Technique:
    """What a family of presets is.

    `shapes` by size as (plain, own); `second`, if there is one, takes the own shape and a depth, which differs by size.
    """

    summary: str
    build: Callable[[Shape], EncoderConfig]
    shapes: dict[str, tuple[Shape, Shape]]
    second: Callable[[Shape, int], SecondPassConfig] | None = None
    second_depths: Mapping[str, int] = field(default_factory=dict)

    def config(self, size: str) -> ModelConfig:
        """The model of a size."""
        shape = self.shapes[size][1]
        second = self.second and self.second(shape, self.second_depths[size])
        return ModelConfig(vocabulary_size=_VOCABULARY[size], encoder=self.build(shape), second=second)


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
_MEDIUM = Shape(12, 384, 1536, 6)
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
        "convolution-only lower blocks, downsized, linear attention above; a full second pass",
        practical,
        {
            "tiny": (_TINY, _TINY),
            "small": (_SMALL, _SMALL),
            "paper": (_BASELINE, Shape(9, 256, 1024, 4)),
        },
        full_second,
        {"tiny": 1, "small": 2, "paper": 4},
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
        "all four at once; a lean second pass",
        lean,
        {
            "tiny": (_SMALL, Shape(4, 192, 768, 4)),
            "small": (_MEDIUM, Shape(8, 352, 1408, 8)),
            "paper": (_BASELINE, Shape(6, 320, 960, 4)),  # smaller than `small`, for a tenth of the time
        },
        lean_second,
        {"tiny": 2, "small": 4, "paper": 4},
    ),
}
_VOCABULARY = {"tiny": 128, "small": 256, "paper": 256}


def names() -> tuple[str, ...]:
    """Names of all presets."""
    return tuple(f"{technique}-{size}" for technique in TECHNIQUES for size in SIZES)


def base_name(name: str) -> str:
    """A preset's name without what may stand behind it."""
    return next((name.removesuffix(suffix) for suffix in (PLAIN, FIRST) if name.endswith(suffix)), name)


def preset(name: str) -> Preset:
    """A preset by its name, such as "lean-small"; "lean-small-plain" is the plain Conformer of its size,
    "lean-small-first" its first pass alone.

    Raises:
        ConfigError: there is none of this name; the message has the nearest.
    """
    base = base_name(name)
    if base not in names():
        near = difflib.get_close_matches(base, names(), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names())}"
        raise ConfigError(f"no preset {name!r}; {hint}")
    kind, _, size = base.rpartition("-")
    technique = TECHNIQUES[kind]
    plain = ModelConfig(vocabulary_size=_VOCABULARY[size], encoder=conformer(technique.shapes[size][0]))
    if name.endswith(PLAIN):
        return Preset(name, f"the plain Conformer of the size of {base}", size, plain, plain)
    found = Preset(name, technique.summary, size, technique.config(size), plain)
    if name == base:
        return found
    if found.config.second is None:
        raise ConfigError(f"no preset {name!r}: {base} has but one pass; leave {FIRST} out")
    alone = found.config.model_copy(update={"second": None})
    return replace(found, summary=f"the first pass of {base}", config=alone)


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
