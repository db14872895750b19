"""Graphs of a model for measuring: exported with random weights, or taken from a bundle."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import onnx
import torch

from leanformer.config import ModelConfig
from leanformer.export.graph import export_step
from leanformer.export.quantize import quantize
from leanformer.export.steps import SecondStep, StatefulStep, Step
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel
from leanformer.profile.count import FRAME_MS, PRECISIONS
from leanformer.profile.subject import Subject

MAX_CHUNK_MS = 10_240
_SEED = 0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Graphs:
    """The streaming step of a pass in both precisions, as files have it."""

    fp32: bytes
    int8: bytes

    def __getitem__(self, precision: str) -> bytes:
        """The graph of one precision."""
        return self.int8 if precision == "int8" else self.fp32


def graphs_of(subject: Subject, chunk_ms: float, left_context: int, tell: Tell) -> list[Graphs]:
    """The graphs of each pass; what a bundle lacks is exported from its config, with random weights."""
    exports = [partial(export_random, subject.config, chunk_ms, left_context)]
    if subject.config.second is not None:
        exports.append(partial(export_second, subject.config))
    passes = []
    for export, paths in zip(exports, subject.graphs or [{} for _ in exports], strict=True):
        found = {kind: path.read_bytes() for kind, path in paths.items()}
        if not set(PRECISIONS) <= set(found):
            tell(f"{subject.name}: exporting, which takes a second for each layer or more")
            found = {**export(), **found}
        passes.append(Graphs(found["fp32"], found["int8"]))
    return passes


def export_random(config: ModelConfig, chunk_ms: float, left_context: int) -> dict[str, bytes]:
    """Export the first pass of a model with random weights: time does not depend on them."""
    frame_ms = FRAME_MS * config.encoder.subsampling.factor
    # As bundles are: for chunks of any length. A longer one leads to the same graph.
    longest = round(max(MAX_CHUNK_MS, chunk_ms) / frame_ms)
    return _export(Step(_random(config), Context(longest, left_context)))


def export_second(config: ModelConfig) -> dict[str, bytes]:
    """Export the second pass of a model with random weights."""
    return _export(SecondStep(_random(config)))


def _random(config: ModelConfig) -> SpeechModel:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(_SEED)
        return SpeechModel(config).eval()


def _export(step: StatefulStep) -> dict[str, bytes]:
    fp32 = export_step(step)
    int8, _ = quantize(fp32)
    return {"fp32": fp32.SerializeToString(), "int8": int8.SerializeToString()}


def node_counts(graph: bytes) -> dict[str, int]:
    """How many nodes of each type a graph has."""
    counts: dict[str, int] = {}
    for node in onnx.load_from_string(graph).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def say(line: str) -> None:
    """Progress, on standard error."""
    print(f"{line} ...", file=sys.stderr, flush=True)
