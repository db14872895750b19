"""Frozen, nested, validated configuration of a model, in and out of TOML.

An encoder is data: `blocks` are sets of weights, `layer_map` says which of them runs at each depth, `exits`
says at which depths an output may be taken. Construction validates; an unknown key fails and names the
nearest known one.
"""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from leanformer.config_errors import Place, explain, name, show
from leanformer.errors import ConfigError

PositiveInt = Annotated[int, Field(gt=0)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
MAX_REPEAT = 1000


class Frozen(BaseModel):
    """Base of every config: immutable, strictly typed, closed to unknown keys; numbers are finite.

    All of it holds for plain frozen dataclasses nested in one, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SoftmaxAttentionConfig(Frozen):
    """Chunked multi-head softmax attention with rotary positions."""

    kind: Literal["softmax"] = "softmax"
    heads: PositiveInt = 4


AttentionConfig = SoftmaxAttentionConfig  # becomes a union, told apart by `kind`, when a second kind exists

SublayerName = Literal["ffn", "attention", "conv"]


class BlockConfig(Frozen):
    """One set of block weights. `order` names its sublayers from input to output.

    A block with two feed-forwards gives each half weight (the Conformer's macaron form, Gulati et al. 2020).
    """

    order: tuple[SublayerName, ...] = ("ffn", "attention", "conv", "ffn")
    ffn_dim: PositiveInt = 768
    kernel_size: PositiveInt = 15
    attention: AttentionConfig = SoftmaxAttentionConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.order:
            raise ValueError("order must name at least one sublayer")
        return self


class SubsamplingConfig(Frozen):
    """Convolutional subsampling in time by 4 or 8."""

    factor: Literal[4, 8] = 4
    channels: PositiveInt = 32


class EncoderConfig(Frozen):
    """The encoder: subsampling, then `layer_map` over `blocks`."""

    model_dim: PositiveInt = 192
    subsampling: SubsamplingConfig = SubsamplingConfig()
    blocks: tuple[BlockConfig, ...] = (BlockConfig(),) * 12
    layer_map: tuple[int, ...] = ()
    """Index into `blocks` for each depth; left out, every block runs once, in order."""
    exits: tuple[PositiveInt, ...] = ()
    """Depths (1 = after the first layer) whose output may be taken; the full depth is always the last."""
    norm: Literal["layer"] = "layer"
    activation: Literal["swish", "relu"] = "swish"
    conv_gate: Literal["glu", "none"] = "glu"
    dropout: Probability = 0.1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.blocks:
            raise ValueError("blocks must hold at least one block")
        # What was left out is filled in while the object is being made, before anyone can hold it.
        object.__setattr__(self, "layer_map", self.layer_map or tuple(range(len(self.blocks))))
        object.__setattr__(self, "exits", tuple(sorted({*self.exits, self.depth})))
        if bad := [i for i in self.layer_map if not 0 <= i < len(self.blocks)]:
            raise ValueError(
                f"layer_map names block {bad[0]}, but blocks has {len(self.blocks)} (0 is the first)"
            )
        if unused := sorted(set(range(len(self.blocks))) - set(self.layer_map)):
            raise ValueError(f"block {unused[0]} is in blocks but nowhere in layer_map")
        if bad := [e for e in self.exits if e > self.depth]:
            raise ValueError(f"exits names depth {bad[0]}, but the encoder has {self.depth} layers")
        for block in self.blocks:
            if "attention" in block.order and self.model_dim % (2 * block.attention.heads):
                raise ValueError(
                    f"model_dim {self.model_dim} must be a multiple of twice the heads "
                    f"({block.attention.heads}), as rotary positions turn pairs within a head"
                )
        return self

    @property
    def depth(self) -> int:
        """Number of layers that run, shared weights counted as often as they run."""
        return len(self.layer_map)


class PhoneHeadConfig(Frozen):
    """An auxiliary head that classifies each encoder frame as a phone, at a lower depth."""

    depth: PositiveInt
    condition: bool = True
    """Feed the phone posteriors back into the encoder (self-conditioning, Nozaki & Komatsu 2021)."""
    stop_gradient: bool = False
    """Keep the losses above from changing the posteriors: the layers below then learn phones and nothing else."""
    hide_audio: Share = 0.0
    """Share of utterances, in training, whose upper layers see nothing but the posteriors. At 1 they never see
    anything else, in use neither: a bottleneck, through which what text taught applies to speech at once."""


class ModelConfig(Frozen):
    """A recogniser: encoder, CTC output, and optionally a phone head."""

    vocabulary_size: PositiveInt = 128
    encoder: EncoderConfig = EncoderConfig()
    phone_head: PhoneHeadConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        head = self.phone_head
        if head is not None and head.depth > self.encoder.depth:
            raise ValueError(
                f"phone_head.depth is {head.depth}, but the encoder has only {self.encoder.depth} layers"
            )
        if head is not None and head.condition and head.depth == self.encoder.depth:
            raise ValueError(
                f"phone_head.depth {head.depth} is the last layer, so its posteriors would reach no other; "
                "lower it, or set phone_head.condition = false"
            )
        return self


C = TypeVar("C", bound=Frozen)


def from_dict(cls: type[C], values: dict[str, Any], source: str) -> C:
    """Build a config from plain values; an entry of an array of tables may carry `repeat = N`.

    Raises:
        ConfigError: naming `source`, the key, what was found, and what was expected.
    """
    try:
        # JSON mode is strict about types, yet takes arrays for tuples, as TOML writes them.
        return cls.model_validate_json(json.dumps(_expand_repeats(values, ())))
    except ValidationError as error:
        raise ConfigError(f"{source}: {explain(cls, error.errors())}") from None
    except ConfigError as error:  # from here, or from a nested dataclass's own check
        raise ConfigError(f"{source}: {error}") from None


def load_toml(cls: type[C], path: Path) -> C:
    """Read a config from a TOML file (ConfigError on anything wrong with it)."""
    return from_dict(cls, read_toml(path), str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The plain values of a TOML file (ConfigError if it is missing or not TOML)."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; pass the path of a TOML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not text in UTF-8; pass the path of a TOML file") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); pass the path of a TOML file"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}; correct it there") from None


def to_toml(config: Frozen) -> str:
    """Write a config as TOML that `from_dict` reads back to an equal config."""
    values = config.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps(_fold_repeats(values))


def _expand_repeats(value: Any, place: Place) -> Any:
    if isinstance(value, dict):
        return {key: _expand_repeats(item, (*place, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items: list[Any] = []
        for index, item in enumerate(value):
            count, rest = _repeat(item, (*place, index))
            items.extend([_expand_repeats(rest, (*place, index))] * count)
        return items
    if value is None or isinstance(value, str | int | float):
        return value
    raise ConfigError(f"`{name(place)}` = {value}: it should not be a date or time; no key takes one")


def _repeat(item: Any, place: Place) -> tuple[int, Any]:
    """How often an item of an array stands there, and the item without `repeat`."""
    if not isinstance(item, dict) or "repeat" not in item:
        return 1, item
    count = item["repeat"]
    if type(count) is not int or not 1 <= count <= MAX_REPEAT:
        where = name((*place, "repeat"))
        raise ConfigError(f"`{where}` = {show(count)}: it should be an integer from 1 to {MAX_REPEAT}")
    return count, {key: value for key, value in item.items() if key != "repeat"}


def _fold_repeats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _fold_repeats(item) for key, item in value.items()}
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return value
    items: list[dict[str, Any]] = []
    for item in value:
        if items and {**items[-1], "repeat": 1} == {**item, "repeat": 1} and _count(items[-1]) < MAX_REPEAT:
            items[-1]["repeat"] = _count(items[-1]) + 1
        else:
            items.append(dict(item))
    return items


def _count(item: dict[str, Any]) -> int:
    return int(item.get("repeat", 1))
