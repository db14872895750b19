"""What a run is about to train on, in a few lines; and what cannot be trained on."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from leanformer.data.batching import within_limits
from leanformer.data.loader import BatchStream, Dataset
from leanformer.errors import DataError
from leanformer.features.spec import FeatureSpec
from leanformer.model import SpeechModel
from leanformer.train.prepare import Prepared
from leanformer.train.progress import SAMPLE_RATE
from leanformer.train.recipe import ScheduleConfig


@dataclass(frozen=True)
class Usable:
    """How many training utterances there are, and how many of them no step learns from.

    Attributes:
        total, seconds: all that were read, at speed 1.
        outside_limits: shorter than min_seconds or longer than max_seconds; left out of the batches.
        crowded: with more tokens than CTC fits into their frames at speed 1; left out of the loss.
        crowded_when_fast: the same at the highest speed only.
    """

    total: int
    seconds: float
    outside_limits: int
    crowded: int
    crowded_when_fast: int
    example: str


def count_usable(stream: BatchStream, factor: int) -> Usable:
    """Count the training utterances by whether they can be learnt from, at a subsampling by `factor`.

    Raises:
        DataError: if there is nothing to learn from.
    """
    dataset = stream.dataset
    lengths = dataset.waveforms.lengths
    inside = within_limits(lengths, stream.config)
    needed = np.asarray([frames_needed(target) for target in dataset.targets])
    crowded = inside & (needed > encoder_frames(lengths[:, 0], factor))
    crowded_fast = inside & (needed > encoder_frames(lengths.min(axis=1), factor)) & ~crowded
    if not (inside & ~crowded).any():
        raise DataError(
            f"none of {len(dataset)} training utterances can be trained on: {int((~inside).sum())} are outside "
            f"{stream.config.min_seconds:g} to {stream.config.max_seconds:g} s, {int(crowded.sum())} have more tokens "
            f"than frames at a subsampling by {factor}; change batch.min_seconds or max_seconds, subsample less, or "
            "use a larger vocabulary"
        )
    example = dataset.waveforms.ids[int(np.argmax(crowded))] if crowded.any() else ""
    return Usable(
        len(dataset),
        _seconds(dataset),
        int((~inside).sum()),
        int(crowded.sum()),
        int(crowded_fast.sum()),
        example,
    )


def frames_needed(target: NDArray[np.int64]) -> int:
    """Frames that CTC needs for a target (U,): one for each token, and a blank between equal neighbours."""
    return len(target) + int((target[1:] == target[:-1]).sum())


def encoder_frames(samples: NDArray[np.int64], factor: int) -> NDArray[np.int64]:
    """Encoder frames of waveforms of (N,) samples."""
    spec = FeatureSpec()
    frames = np.maximum(0, (samples - spec.window_samples) // spec.shift_samples + 1)
    return np.asarray(-(-frames // factor))


def describe(prepared: Prepared, model: SpeechModel, usable: Usable) -> list[str]:
    """The lines that a run begins with."""
    recipe, encoder = prepared.recipe, prepared.recipe.model.encoder
    parameters = sum(p.numel() for p in model.parameters())
    speeds = ", ".join(f"{speed:g}" for speed in recipe.augment.speeds)
    lines = [
        f"train: {usable.total} utterances, {usable.seconds / 3600:.2f} h, at speeds {speeds}{_left_out(usable)}"
    ]
    if prepared.dev is not None:
        lines.append(f"dev: {len(prepared.dev)} utterances, {_seconds(prepared.dev) / 3600:.2f} h")
    lines.append(
        f"model: {in_words(parameters)} parameters, {encoder.depth} layers of {encoder.model_dim}, subsampling by "
        f"{encoder.subsampling.factor}, {len(prepared.tokenizer)} tokens"
    )
    lines.append(describe_batches(prepared.stream))
    return lines


def describe_schedule(
    schedule: ScheduleConfig, stream: BatchStream, has_dev: bool, run: Path, device: str
) -> str:
    """How long the run goes on, and where."""
    epochs = schedule.max_steps / len(stream.epoch(0))
    threads = f", {torch.get_num_threads()} threads" if device == "cpu" else ""
    dev = f"dev pass every {schedule.dev_every_steps}, " if has_dev else ""
    return (
        f"run: {run}, {schedule.max_steps} steps ({epochs:.1f} epochs), {dev}"
        f"checkpoint every {schedule.checkpoint_minutes:g} min, on {device}{threads}"
    )


def in_words(count: int) -> str:
    """A number of parameters for a person."""
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} thousand"


def describe_batches(stream: BatchStream) -> str:
    """How many batches there are, and of which shapes."""
    plan = stream.epoch(0)
    shapes = sorted({(batch.samples, len(batch.rows)) for batch in plan.batches})
    told = ", ".join(f"{rows} x {samples / SAMPLE_RATE:.1f} s" for samples, rows in _ends(shapes))
    return (
        f"batches: {len(plan)} in the first epoch, {len(shapes)} shapes ({told}), {plan.padding:.0%} padding"
    )


def _ends(shapes: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    return shapes if len(shapes) <= 2 else (shapes[0], shapes[-1])


def _left_out(usable: Usable) -> str:
    told = ""
    if usable.outside_limits:
        told += f"; {usable.outside_limits} left out as too short or too long"
    if usable.crowded:
        told += (
            f"; {usable.crowded} with more tokens than frames, left out of the loss, such as {usable.example}"
        )
    if usable.crowded_when_fast:
        told += f"; {usable.crowded_when_fast} so at the highest speed only"
    return told


def _seconds(dataset: Dataset) -> float:
    return float(dataset.waveforms.lengths[:, 0].sum()) / SAMPLE_RATE


def data_identity(stream: BatchStream) -> dict[str, int]:
    """What tells two sets of training data apart: a run that is resumed on other data is not the same run."""
    dataset = stream.dataset
    digest = zlib.crc32("\n".join(dataset.waveforms.ids).encode())
    digest = zlib.crc32(dataset.waveforms.lengths.tobytes(), digest)
    for target in dataset.targets:
        digest = zlib.crc32(target.tobytes(), digest)
    return {"utterances": len(dataset), "crc32": digest}
