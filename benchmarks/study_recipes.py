"""Recipes for rows of the study: changes of the protocol, as for `leanformer train --set`, made from models.

Steps and rates follow from the protocol, so that they stay right when it changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import environment  # noqa: F401 - before whatever needs torch

from leanformer.config import BlockConfig, EncoderConfig, SecondPassConfig
from leanformer.preset_shapes import Shape
from leanformer.presets import TECHNIQUES
from leanformer.profile.count import FRAME_MS
from leanformer.profile.energy import EnergyModel
from leanformer.profile.passes import passes_of
from leanformer.train.overrides import load_recipe
from leanformer.train.recipe import Recipe

CHUNK_MS = 640
"""Chunks in which costs are counted and timed."""
WIDTH_STEP = 16
"""Widths that are tried come in multiples of this, so that folding and heads divide them."""


class Kit:
    """What rows are made from: the plain stack of a size, and the protocol's recipe."""

    def __init__(self, size: str, sets: tuple[str, ...], protocol: Path) -> None:
        self.size, self.sets, self.protocol = size, sets, protocol
        self.shape: Shape = TECHNIQUES["conformer"].shapes[size][1]
        self.plain = f"preset=conformer-{size}"
        self.recipe = self.read((self.plain,))

    def read(self, changes: tuple[str, ...]) -> Recipe:
        """The recipe of a row with these changes."""
        return load_recipe(self.protocol, (*changes, *self.sets))

    def all_blocks(self, **changes: Any) -> tuple[str, str]:
        """The plain stack, with every block changed alike."""
        return self.plain, f"model.encoder.blocks={in_toml(changes)}"

    def stack(self, encoder: EncoderConfig, second: SecondPassConfig | None = None) -> tuple[str, ...]:
        """Changes that make an encoder, and a second pass, of the plain one; the rest of it is the protocol's."""
        values = encoder.model_dump(mode="json")
        usual = EncoderConfig(model_dim=self.shape.model_dim).model_dump(mode="json")
        keys = ("model_dim", "norm", "activation", "conv_gate")
        changed = {key: values[key] for key in keys if values[key] != usual[key]}
        if encoder.layer_map != tuple(range(len(encoder.blocks))):
            changed["layer_map"] = values["layer_map"]
        changes = [f"model.encoder.{key}={in_toml(value)}" for key, value in changed.items()]
        changes.append(f"model.encoder.blocks={in_toml(_listed(encoder.blocks))}")
        if second is not None:
            above = {**second.model_dump(mode="json"), "blocks": _listed(second.blocks)}
            changes.append(f"model.second={in_toml(above)}")
        return self.plain, *changes

    @property
    def freeze_norms(self) -> str:
        """For layers that share a BatchNorm: statistics stay from halfway through the stage that trains all layers."""
        begin, end = self.recipe.objective.ctc_start_step, self.recipe.schedule.max_steps
        return f"optimizer.freeze_norms_step={(begin + end) // 2}"

    def gentle(self, factor: int) -> tuple[str, ...]:
        """A peak rate so many times lower, and a warm-up so many times longer."""
        given = self.recipe.optimizer
        changes = (f"optimizer.peak_rate={given.peak_rate / factor:.3g}",
                   f"optimizer.warmup_steps={given.warmup_steps * factor}")  # fmt: skip
        return changes if given.muon is None else (*changes, self._muon(factor))

    def fine_tuning(self, steps: int) -> tuple[str, ...]:
        """A trained model goes on for so many steps: all losses at once, text as in the end, a third of the rate."""
        return (
            f"schedule.max_steps={steps}",
            f"schedule.dev_every_steps={max(1, steps // 4)}",
            f"optimizer.peak_rate={self.recipe.optimizer.peak_rate / 3:.3g}",
            *(() if self.recipe.optimizer.muon is None else (self._muon(3),)),
            f"optimizer.decay_steps={max(1, steps // 2)}",
            "optimizer.restarts=[]",
            *(f"objective.{key}=0" for key in ("ctc_start_step", "ctc_ramp_steps")),
            *(f"text.{key}=0" for key in ("start_step", "alone_steps", "placed_steps", "clear_steps")),
            "text.clarity=[0.0, 0.0]",
        )

    def _muon(self, factor: int) -> str:
        assert self.recipe.optimizer.muon is not None
        return f"optimizer.muon.peak_rate={self.recipe.optimizer.muon.peak_rate / factor:.3g}"


def widened(shape: Shape, model_dim: int) -> Shape:
    """A shape of another width, its feed-forward in proportion."""
    return replace(shape, model_dim=model_dim, ffn_dim=shape.ffn_dim * model_dim // shape.model_dim)


def widest(cost: Callable[[int], float], limit: float, least: int) -> int:
    """The largest width, a multiple of WIDTH_STEP from `least` on, whose cost is within `limit`.

    Costs grow with the width. Where even `least` costs too much, it is that.
    """
    low, high = least // WIDTH_STEP, 2 * (least // WIDTH_STEP)
    while cost(high * WIDTH_STEP) <= limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle * WIDTH_STEP) <= limit else (low, middle)
    return low * WIDTH_STEP


def macs_per_second(recipe: Recipe) -> float:
    """Multiply-accumulates of all passes of a recipe's model for a second of audio, in chunks of CHUNK_MS."""
    frame_ms = FRAME_MS * recipe.model.encoder.subsampling.factor
    assert CHUNK_MS % frame_ms == 0
    passes = passes_of(recipe.model, CHUNK_MS, recipe.context.dev_left_context, EnergyModel())
    return sum(one.counts.macs_per_second for one in passes)


def in_toml(value: Any) -> str:
    """A plain value on one line of TOML; None is left out of tables."""
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {in_toml(one)}" for key, one in value.items() if one is not None)
        return f"{{ {inside} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_toml, value))}]"
    return json.dumps(value)


def _listed(blocks: tuple[BlockConfig, ...]) -> list[dict[str, Any]]:
    """Blocks as a recipe writes them: equal neighbours once, and `fold` only where something is folded."""
    listed = []
    for block, same in groupby(blocks):
        values = block.model_dump(mode="json", exclude_none=True)
        if block.fold.factor == 1:
            del values["fold"]
        listed.append({"repeat": len(list(same)), **values})
    return listed
