"""The rows of the study as data: each a name, its paper, its claim, changes of the protocol's recipe, and readings.

All rows have one class of size; a stack is that of its plain Conformer. Changes are as for `leanformer train --set`. A
row that is another attempt at a row's claim names that row in `of`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import environment  # noqa: F401 - before whatever needs torch
from side_by_side import PROTOCOL, Model
from study_recipes import Kit, macs_per_second, widened, widest

from leanformer.compress.swap_attention import swapped_config
from leanformer.config import EncoderConfig, ModelConfig
from leanformer.preset_shapes import Shape, folding, lean, lean_second, practical
from leanformer.presets import TECHNIQUES

BASE = "conformer"

FUSION = "FusionFormer (arXiv 2210.17079)"
PRACTICAL = "Practical Conformer (arXiv 2304.00171)"
SHARING = "Layer consistency (arXiv 2105.00812)"
FOLDING = "Folding attention (arXiv 2309.07988)"
TOGETHER = "All four at once"
PLAIN = "The baseline"


@dataclass(frozen=True)
class Variant:
    """A way to hear a trained model: a name, and options of `Recognizer.load`."""

    name: str = ""
    options: tuple[tuple[str, Any], ...] = ()

    def option(self, name: str) -> Any:
        """The value of an option, None if it is not given."""
        return dict(self.options).get(name)


@dataclass(frozen=True)
class Row:
    """A model to train and read. `start` is the row whose trained model it begins with, attention swapped."""

    name: str
    paper: str
    claim: str
    changes: tuple[str, ...]
    of: str = ""
    start: str = ""
    variants: tuple[Variant, ...] = (Variant(),)

    @property
    def model(self) -> Model:
        """What is trained."""
        return Model(self.name, self.changes)

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths below the full one at which it is read."""
        return tuple(depth for one in self.variants if (depth := one.option("depth")) is not None)


@cache
def all_rows(size: str = "small", sets: tuple[str, ...] = (), protocol: Path = PROTOCOL) -> tuple[Row, ...]:
    """Every row, in the order in which they are trained, further attempts last; `sets` are changes for all of them."""
    kit = Kit(size, sets, protocol)
    parts: tuple[Callable[[Kit], tuple[Row, ...]], ...] = (
        _baseline, _fusion, _local, _performer, _practical, _shared, _folded, _lean
    )  # fmt: skip
    found = [
        replace(row, changes=(*row.changes, *sets)) for part in parts for row in part(kit)
    ]  # what holds for all goes last, and counts
    return tuple(sorted(found, key=lambda row: bool(row.of)))


def _baseline(kit: Kit) -> tuple[Row, ...]:
    return (Row(BASE, PLAIN, "paper: none; all others are compared with it", (kit.plain,)),)


def _fusion(kit: Kit) -> tuple[Row, ...]:
    no_norm = kit.plain, "model.encoder.norm=none"
    in_place = kit.plain, "model.encoder.norm=batch_in_place"
    diverges = "paper: removing every LayerNorm diverges"
    diverges_too = "paper: BatchNorm exactly where LayerNorm stood diverges"
    part = "paper: not told apart; half of FusionFormer's two changes"
    relu = "model.encoder.activation=relu", "model.encoder.conv_gate=none"
    return (
        Row("fusionformer", FUSION, "paper: as accurate as the LayerNorm Conformer",
            (f"preset=fusionformer-{kit.size}",)),
        Row("no-norm", FUSION, diverges, no_norm),
        Row("no-norm-gentle", FUSION, diverges, (*no_norm, *kit.gentle(4)), of="no-norm"),
        Row("batch-in-place", FUSION, diverges_too, in_place),
        Row("batch-in-place-gentle", FUSION, diverges_too, (*in_place, *kit.gentle(4)), of="batch-in-place"),
        Row("relu-only", FUSION, part, (kit.plain, *relu)),
        Row("batchnorm-only", FUSION, part, (kit.plain, "model.encoder.norm=batch")),
    )  # fmt: skip


def _local(kit: Kit) -> tuple[Row, ...]:
    shape = kit.shape
    claim = (
        "paper: not told apart; its levers together lose a reasonable amount (no such block: the baseline)"
    )

    def lower(count: int) -> tuple[str, ...]:
        blocks = (shape.local(),) * count + (shape.block(),) * (shape.depth - count)
        return kit.stack(EncoderConfig(model_dim=shape.model_dim, blocks=blocks))

    return (
        Row("local-quarter", PRACTICAL, claim, lower(shape.depth // 4)),
        Row("local-half", PRACTICAL, claim, lower(shape.depth // 2)),
    )


def _performer(kit: Kit) -> tuple[Row, ...]:
    steps = max(1, kit.recipe.schedule.max_steps // 4)

    def performer(features: int) -> tuple[str, ...]:
        attention = {"kind": "performer", "heads": kit.shape.heads, "features": features}
        return kit.all_blocks(attention=attention)

    scratch = "paper: not told apart; its levers together lose a reasonable amount"
    swap = "paper: in the patent, train with softmax attention, then swap in linear attention and fine-tune"
    return (
        Row("performer", PRACTICAL, scratch, performer(64)),
        Row("performer-128", PRACTICAL, scratch, performer(128), of="performer"),
        Row("performer-swap", PRACTICAL, swap, (*performer(64), *kit.fine_tuning(steps)), start=BASE),
        Row("performer-swap-long", PRACTICAL, swap, (*performer(64), *kit.fine_tuning(2 * steps)),
            of="performer-swap", start=BASE),
    )  # fmt: skip


def _practical(kit: Kit) -> tuple[Row, ...]:
    first = practical(kit.shape)
    softmax = swapped_config(ModelConfig(encoder=first), "softmax").encoder
    both = (Variant("first pass", (("first_pass_only", True),)), Variant("both passes"))
    return (
        Row("downsized", PRACTICAL, "paper: not told apart; all levers but linear attention",
            kit.stack(softmax)),
        Row("practical", PRACTICAL, "paper: the second pass recovers all that the small first pass loses",
            (f"preset=practical-{kit.size}",), variants=both),
    )  # fmt: skip


def _shared(kit: Kit) -> tuple[Row, ...]:
    shape = kit.shape
    encoder = EncoderConfig(model_dim=shape.model_dim, blocks=(shape.block(),), layer_map=(0,) * shape.depth)
    shared = kit.stack(encoder)
    depths = sorted({max(1, round(shape.depth * share)) for share in (0.4, 0.6, 0.8)})
    variants = (Variant(f"{shape.depth} layers"),
                *(Variant(f"{depth} layers", (("depth", depth),)) for depth in reversed(depths)))  # fmt: skip
    par = "paper: one block for all layers is on a par (there in pre-training)"
    less = "paper: trained at a random depth, fewer layers at inference are on a par"
    sampled = *shared, "objective.sample_depth=true"
    # A block that is below the phone head, too, may forget phones in the stage of text alone.
    kept = "text.alone_steps=0"
    return (
        Row("shared", SHARING, par, shared),
        Row("shared-phones-kept", SHARING, par, (*shared, kept), of="shared"),
        Row("shared-sampled", SHARING, less, sampled, variants=variants),
        Row("shared-sampled-phones-kept", SHARING, less, (*sampled, kept), of="shared-sampled", variants=variants),
    )  # fmt: skip


def _folded(kit: Kit) -> tuple[Row, ...]:
    third = folding(kit.shape, 2, kit.shape.depth // 3)
    claim = "paper: folding loses no accuracy"
    part = "paper: attention and feed-forward both fold without loss; this folds one of them"
    place = "paper: not told; folding without a learned vector that tells sub-tokens apart"
    return (
        Row("fold2-third", FOLDING, claim, kit.stack(third)),
        Row("fold2-all", FOLDING, claim, kit.all_blocks(fold=2)),
        Row("fold4-all", FOLDING, claim, kit.all_blocks(fold=4)),
        Row("fold2-attention", FOLDING, part, kit.all_blocks(fold={"factor": 2, "ffn": False})),
        Row("fold2-ffn", FOLDING, part, kit.all_blocks(fold={"factor": 2, "attention": False})),
        Row("fold2-no-position", FOLDING, place, kit.all_blocks(fold={"factor": 2, "position": False})),
    )


def _lean(kit: Kit) -> tuple[Row, ...]:
    both = (Variant("first pass", (("first_pass_only", True),)), Variant("both passes"))
    claim = "paper: none; all four techniques, each of which loses little"
    wide = "paper: none; the same, as wide as the baseline's multiply-accumulates allow"

    def changes(shape: Shape) -> tuple[str, ...]:
        second = lean_second(shape, TECHNIQUES["lean"].second_depths[kit.size])
        return *kit.stack(lean(shape), second), kit.freeze_norms

    def macs(changed: tuple[str, ...]) -> float:
        return macs_per_second(kit.read(changed))

    limit = macs((kit.plain,))
    width = widest(lambda dim: macs(changes(widened(kit.shape, dim))), limit, kit.shape.model_dim)
    return (
        Row("lean", TOGETHER, claim, changes(kit.shape), variants=both),
        Row("lean-wide", TOGETHER, wide, changes(widened(kit.shape, width)), variants=both),
    )
