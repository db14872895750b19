"""What the rows of the study cost: counted from their recipes, and timed on their bundles, all in turns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import environment  # noqa: F401 - before whatever needs torch
from study_recipes import CHUNK_MS
from study_rows import Row, Variant

from leanformer.compress.shallow import shallow_config
from leanformer.config import ModelConfig
from leanformer.export.bundle import FP32, INT8
from leanformer.profile.count import FRAME_MS
from leanformer.profile.latency import race
from leanformer.profile.profile import Options, profile
from leanformer.profile.report import to_dict
from leanformer.profile.runner import Runner
from leanformer.profile.subject import Subject
from leanformer.runtime.bundle import Bundle
from leanformer.train.recipe import Recipe

Graph = tuple[Path, int, float]
"""A graph, the frames that a step of it is given, and steps of it in CHUNK_MS of audio."""


def costs(row: Row, recipe: Recipe) -> dict[str, dict[str, float]]:
    """By variant: parameters, weight bytes, state bytes, MACs and modelled mJ for a second of audio.

    Counted on the model as it runs, so BatchNorms are fused; of a cascade's two passes the sums.
    """
    sized = recipe.model.model_copy(update={"vocabulary_size": recipe.tokenizer.vocabulary_size})
    return {
        one.name: dict(_counted(config_of(sized, one), recipe.context.dev_left_context))
        for one in row.variants
    }


def config_of(config: ModelConfig, variant: Variant) -> ModelConfig:
    """The model that a variant runs."""
    if (depth := variant.option("depth")) is not None:
        return shallow_config(config, depth)
    return config.model_copy(update={"second": None}) if variant.option("first_pass_only") else config


@cache
def _counted(config: ModelConfig, left_context: int) -> dict[str, float]:
    options = Options(CHUNK_MS, left_context, rounds=0)
    (found,) = profile([Subject("row", config)], options)
    values: dict[str, Any] = to_dict(found)
    by_precision = {kind: values["by_precision"][kind]["energy_mj_per_second"] for kind in (INT8, FP32)}
    return {
        "parameters": values["parameters"],
        **{f"bytes_{kind}": values["weight_bytes"][kind] for kind in (INT8, FP32)},
        "state_bytes": values["state_bytes"],
        "macs_per_second": round(values["macs_per_second"]),
        **{f"mj_per_second_{kind}": round(spent, 4) for kind, spent in by_precision.items()},
    }


def timed(bundles: Mapping[str, tuple[Row, Path]], rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Median milliseconds for CHUNK_MS of audio, by row, variant and precision: one thread, all graphs in turns."""
    wanted = {
        (name, variant.name, kind): graphs_of(Bundle.open(folder), variant, kind)
        for name, (row, folder) in bundles.items()
        for variant in row.variants
        for kind in (INT8, FP32)
    }
    runners = {path: Runner(str(path), frames) for graphs in wanted.values() for path, frames, _ in graphs}
    found = race(runners, rounds)
    times: dict[str, dict[str, dict[str, float]]] = {}
    for (name, variant, kind), graphs in wanted.items():
        taken = sum(found[path].p50 * steps for path, _, steps in graphs)
        times.setdefault(name, {}).setdefault(variant, {})[kind] = round(taken, 4)
    return times


def graphs_of(bundle: Bundle, variant: Variant, precision: str) -> list[Graph]:
    """The graphs that a variant runs."""
    alone = bool(variant.option("first_pass_only"))
    opened = bundle.at_depth(variant.option("depth"), first_pass_only=alone)
    graphs: list[Graph] = [(opened.graph_path(precision), round(CHUNK_MS / FRAME_MS), 1.0)]
    second = None if alone else opened.manifest.second
    if second is not None:
        steps = CHUNK_MS / (second.chunk_frames * opened.manifest.step_ms)
        frames = second.chunk_frames + second.lookahead_frames
        graphs.append((opened.graph_path(precision, "second"), frames, steps))
    return graphs
