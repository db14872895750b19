"""Writing a bundle: the folder that `leanformer.runtime.bundle` reads. The format is described there and here.

manifest.json     what a runtime must know, and the sha256 of every other file
model.int8.onnx   the streaming step, weights of matrix products in int8
model.fp32.onnx   the same in float32; may be left out
depth_N.*.onnx    likewise the first pass cut off after N layers, for each lesser depth that it was exported for
second.*.onnx     likewise the step of the second pass, if there is one
predictor.onnx    one token of a transducer's predictor, and joiner.onnx, if there is a transducer
tokenizer.model   SentencePiece
config.toml       the recipe
MODEL_CARD.md     what the model is, and how good
LICENCE.md        what others may do with it
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import leanformer
from leanformer.errors import ExportError
from leanformer.export.packing import StatePacking
from leanformer.export.steps import SecondStep, StatefulStep, Step, input_name, output_name
from leanformer.export.transducer import Decoder
from leanformer.features.spec import FeatureSpec
from leanformer.runtime.bundle import Pass
from leanformer.runtime.manifest import CTC, FILE_NAME, FORMAT, VERSION
from leanformer.text.tokenizer import Tokenizer

FP32, INT8 = "fp32", "int8"
CONFIG, CARD, LICENCE = "config.toml", "MODEL_CARD.md", "LICENCE.md"


@dataclass(frozen=True)
class Model:
    """What a manifest says of a model, but for its files."""

    name: str
    licence: str
    features: FeatureSpec
    vocabulary_size: int
    subsampling_factor: int
    chunk_ms: int
    max_chunk_ms: int
    left_context_frames: int


@dataclass(frozen=True)
class Passes:
    """What is traced of a model, pass by pass."""

    first: Step
    second: SecondStep | None
    decoder: Decoder | None = None
    """The transducer's graphs."""
    decoders: tuple[str, ...] = (CTC,)
    """What the model was trained to be read by."""
    shallow: Mapping[int, Step] = field(default_factory=dict)
    """The first pass cut off, by depth."""


def graph_file(precision: str, which: Pass | int = "first") -> str:
    """The file name of the graph of a pass, or of the first cut off at a depth."""
    name = {"first": "model", "second": "second"}[which] if isinstance(which, str) else f"depth_{which}"
    return f"{name}.{precision}.onnx"


def write_manifest(folder: Path, model: Model, passes: Passes, metrics: Mapping[str, Any]) -> None:
    """Write `folder`/manifest.json for the files that are there; this makes the folder a bundle."""
    parts = sorted(path for path in folder.iterdir() if path.name != FILE_NAME)
    second = {} if passes.second is None else {"second": _second(folder, passes.second)}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "name": model.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "leanformer_version": leanformer.__version__,
        "licence": model.licence,
        "features": model.features.to_dict(),
        "blank_id": Tokenizer.blank_id,
        "vocabulary_size": model.vocabulary_size,
        "subsampling_factor": model.subsampling_factor,
        "default_chunk_ms": model.chunk_ms,
        "max_chunk_ms": model.max_chunk_ms,
        "left_context_frames": model.left_context_frames,
        "depth": passes.first.model.config.encoder.depth,
        "decoders": list(passes.decoders),
        "graphs": _graphs(folder, "first"),
        "inputs": _inputs(passes.first, "frames", model.features.num_mel_bins),
        "state": _state(passes.first.packing),
        "outputs": list(passes.first.outputs),
        **({"shallow": _shallow(folder, passes)} if passes.shallow else {}),
        **second,
        **({} if passes.decoder is None else {"transducer": passes.decoder.manifest}),
        "metrics": dict(metrics),
        "parts": {part.name: _sha256(part) for part in parts},
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=2)
    (folder / FILE_NAME).write_text(f"{text}\n", encoding="utf-8")


def _second(folder: Path, step: SecondStep) -> dict[str, Any]:
    """What a manifest says of the second pass."""
    config = step.model.config
    assert config.second is not None
    return {
        "chunk_frames": config.second.chunk_size,
        "lookahead_frames": config.second.lookahead,
        "graphs": _graphs(folder, "second"),
        "inputs": _inputs(step, "frames + lookahead", config.encoder.model_dim),
        "state": _state(step.packing),
        "outputs": list(step.outputs),
    }


def _shallow(folder: Path, passes: Passes) -> list[dict[str, Any]]:
    """What a manifest says of the lesser depths; inputs and outputs are those of the full one, but for the state."""
    return [
        {"depth": depth, "graphs": _graphs(folder, depth), "state": _state(step.packing)}
        for depth, step in sorted(passes.shallow.items())
    ]


def _graphs(folder: Path, which: Pass | int) -> dict[str, Any]:
    files = {precision: graph_file(precision, which) for precision in (INT8, FP32)}
    return {precision: {"file": name} for precision, name in files.items() if (folder / name).exists()}


def _inputs(step: StatefulStep, frames: str, width: int) -> dict[str, Any]:
    x, lengths = step.inputs
    return {
        x: {"shape": ["batch", frames, width], "dtype": "float32"},
        lengths: {"shape": ["batch"], "dtype": "int64"},
    }


def _state(packing: StatePacking) -> list[dict[str, Any]]:
    return [
        {
            "input": input_name(packed.name),
            "output": output_name(packed.name),
            "shape": ["batch", *packed.shape],
            "dtype": "float32",
        }
        for packed in packing.tensors
    ]


def check_target(target: Path, force: bool) -> None:
    """Raise ExportError if a bundle must not be written to `target`: better before a minute's work than after."""
    if not (target.exists() or target.is_symlink()):
        return
    is_bundle = (target / FILE_NAME).is_file()
    if not is_bundle and not (target.is_dir() and not any(target.iterdir())):
        raise ExportError(f"{target}: exists and is not a bundle; name a folder that does not exist yet")
    if is_bundle and not force:
        raise ExportError(
            f"{target}: there is a bundle already; add --force to replace it, or name another folder"
        )


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder to write a bundle in, which becomes `target` when the block ends well, and is removed if not.

    A bundle that was there stays whole until the new one is.

    Raises:
        ExportError: the folder cannot be written.
    """
    # Beside the target, as a rename must not cross file systems.
    place = target.resolve()
    stage = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        stage.mkdir(parents=True)
        yield stage
        _replace(place, stage)
    except OSError as error:
        raise ExportError(
            f"{target}: cannot write the bundle ({error.strerror or error}); make room, or name another folder"
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _replace(target: Path, stage: Path) -> None:
    for path in (*stage.iterdir(), stage):
        _sync(path)
    old = target.with_name(f"{stage.name}.old")
    if target.exists():
        target.rename(old)
    try:
        stage.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Have it on the disk before its name says that it is there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
