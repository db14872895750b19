"""Graphs of a model for measuring: exported with random weights, or taken from a bundle."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import onnx
import torch

from leanformer.config import ModelConfig
from leanformer.export.graph import Step, export_step
from leanformer.export.quantize import quantize
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel
from leanformer.profile.count import FRAME_MS, PRECISIONS
from leanformer.profile.subject import Subject

MAX_CHUNK_MS = 10_240
_SEED = 0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Graphs:
    """The same streaming step in both precisions, as files have it."""

    fp32: bytes
    int8: bytes

    def __getitem__(self, precision: str) -> bytes:
        """The graph of one precision."""
        return self.int8 if precision == "int8" else self.fp32


def graphs_of(subject: Subject, chunk_ms: float, left_context: int, tell: Tell) -> Graphs:
    """The graphs of what is profiled; what a bundle lacks is exported from its config, with random weights."""
    found = {kind: path.read_bytes() for kind, path in subject.graphs.items()}
    if not set(PRECISIONS) <= set(found):
        tell(f"{subject.name}: exporting, which takes a second for each layer or more")
        found = {**export_random(subject.config, chunk_ms, left_context), **found}
    return Graphs(found["fp32"], found["int8"])


def export_random(config: ModelConfig, chunk_ms: float, left_context: int) -> dict[str, bytes]:
    """Export a model with random weights: time does not depend on them."""
    frame_ms = FRAME_MS * config.encoder.subsampling.factor
    # As bundles are: for chunks of any length. A longer one leads to the same graph.
    longest = round(max(MAX_CHUNK_MS, chunk_ms) / frame_ms)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(_SEED)
        model = SpeechModel(config).eval()
    fp32 = export_step(Step(model, Context(longest, left_context)))
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
