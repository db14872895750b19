"""Checkpoints: how they are named and written, which of a run's is good, and what is in one.

    step0001234.ckpt               between two dev passes
    step0001500-wer0.4321.ckpt     after a dev pass, with its word error rate
    step0001500-loss0.4321.ckpt    the same in pre-training

The folder is all the bookkeeping there is: it may be moved or thinned out by hand. A file is written under
another name and renamed when it is on the disk, so what is named like a checkpoint is a whole one. One that is
damaged all the same (a bad copy, a bad disk) is detected by the checksums of its archive and passed over.
"""

import contextlib
import logging
import os
import pickle
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from leanformer.config import Frozen
from leanformer.config_toml import from_dict
from leanformer.errors import CheckpointError, ConfigError
from leanformer.model import SpeechModel
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.figure import FIGURES, WER, DevFigure
from leanformer.train.recipe import Recipe

_LOG = logging.getLogger(__name__)
SUFFIX = ".ckpt"
_UNFINISHED = ".part"
_DAMAGED = ".damaged"
_NAMES = "|".join(figure.name for figure in FIGURES)
_NAME = re.compile(rf"(?:best-)?step(?P<step>\d+)(?:-(?:{_NAMES})(?P<score>\d+\.\d+))?(?:-v\d+)?")
_KEYS = {"recipe", "state_dict", "global_step"}
KEEP_NEWEST = 2
KEEP_BEST = 2

R = TypeVar("R", bound=Frozen)


@dataclass(frozen=True)
class Saved:
    """A checkpoint file, by its name: `step` is -1 and `score` None where the name does not say.

    `score` is the figure of the dev pass, a word error rate or in pre-training a loss.
    """

    path: Path
    step: int
    score: float | None


@dataclass(frozen=True)
class Trained:
    """A trained model in evaluation mode, with what it was trained by."""

    model: SpeechModel
    recipe: Recipe
    tokenizer: Tokenizer
    step: int


def file_name(step: int, score: float | None = None, figure: DevFigure = WER) -> str:
    """The name of the checkpoint after `step` steps, and after the dev pass at that step if there is a `score`."""
    return f"step{step:07d}{'' if score is None else f'-{figure.name}{score:.4f}'}{SUFFIX}"


def list_checkpoints(run: Path) -> list[Saved]:
    """The checkpoints of a run, whole or not, the newest first."""
    found = []
    for path in run.glob(f"*{SUFFIX}"):
        match = _NAME.fullmatch(path.name.removesuffix(SUFFIX))
        step = int(match["step"]) if match else -1
        found.append(Saved(path, step, float(match["score"]) if match and match["score"] else None))
    # At the same step, the one after the dev pass is the newer one.
    return sorted(
        found, key=lambda saved: (saved.step, saved.score is not None, saved.path.name), reverse=True
    )


def superfluous(saved: Iterable[Saved]) -> list[Saved]:
    """Those of a run's checkpoints, newest first, that are neither among the newest nor the best on dev."""
    known = [one for one in saved if one.step >= 0]
    ranked = sorted(
        (one for one in known if one.score is not None), key=lambda one: (one.score or 0.0, -one.step)
    )
    kept = {one.path for one in (*known[:KEEP_NEWEST], *ranked[:KEEP_BEST])}
    return [one for one in known if one.path not in kept]


def latest_checkpoint(run: Path) -> Path | None:
    """The newest whole checkpoint of a run; warns of each damaged one that it passes over."""
    return _first_whole(list_checkpoints(run))


def best_checkpoint(run: Path) -> Path | None:
    """The whole checkpoint of a run with the lowest figure on dev, or the newest if none was measured."""
    saved = list_checkpoints(run)
    measured = sorted(
        (one for one in saved if one.score is not None), key=lambda one: (one.score or 0.0, -one.step)
    )
    return _first_whole([*measured, *(one for one in saved if one.score is None)])


def _first_whole(saved: Iterable[Saved]) -> Path | None:
    for one in saved:
        if is_whole(one.path):
            return one.path
        _LOG.warning("%s is truncated or damaged; another checkpoint of the run is used instead", one.path)
    return None


def set_aside_newer(run: Path, start: Path | None) -> None:
    """Rename the damaged checkpoints that were passed over: as the newest, they would push out the coming ones."""
    for saved in list_checkpoints(run):
        if saved.path == start:
            return
        saved.path.replace(saved.path.with_name(saved.path.name + _DAMAGED))


def is_whole(path: Path) -> bool:
    """Whether every part of a checkpoint's archive has the checksum that it was written with."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError):
        return False


def load_trained(path: Path) -> Trained:
    """Read a checkpoint, or the best one (on dev) of a run's folder. Runs no code from the file.

    Raises:
        CheckpointError: if there is none, it is damaged, or it is not one of `leanformer train`.
    """
    path = find_checkpoint(path)
    stored = read_checkpoint(path)
    if not is_recogniser(stored):
        raise CheckpointError(
            f"{path}: is of `leanformer pretrain`, so it cannot write anything down yet; fine-tune it: "
            f"leanformer train RECIPE --from {path}"
        )
    recipe = stored_recipe(Recipe, stored, path)
    model = SpeechModel(recipe.model)
    fill_in(model, stored, path)
    return Trained(
        model.eval(), recipe, Tokenizer.from_bytes(stored["tokenizer"]), int(stored["global_step"])
    )


def stored_recipe(cls: type[R], stored: dict[str, Any], path: Path) -> R:
    """The recipe in a checkpoint's content (CheckpointError if this version cannot read it)."""
    try:
        return from_dict(cls, stored["recipe"], str(path))
    except ConfigError as error:
        raise CheckpointError(f"{error}; the checkpoint is of another version of Leanformer") from None


def fill_in(model: nn.Module, stored: dict[str, Any], path: Path) -> None:
    """Give a model the weights in a checkpoint's content (CheckpointError if they do not fit)."""
    weights = {k.removeprefix("model."): v for k, v in stored["state_dict"].items() if k.startswith("model.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its weights do not fit its recipe: {error}") from None


def find_checkpoint(path: Path) -> Path:
    """A checkpoint's own path, or that of the best one (on dev) in a run's folder.

    Raises:
        CheckpointError: the folder has none that is whole.
    """
    if not path.is_dir():
        return path
    found = best_checkpoint(path)
    if found is None:
        raise CheckpointError(f"{path}: no usable checkpoint ({SUFFIX} file) in this folder")
    return found


def is_recogniser(stored: dict[str, Any]) -> bool:
    """Whether a checkpoint's content is of `train`, with a tokenizer, and not of `pretrain`, which has none."""
    return "tokenizer" in stored


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The raw content of a checkpoint file: tensors and plain values, nothing that could run.

    Raises:
        CheckpointError: if it is missing, damaged, or no checkpoint of `leanformer train` or `pretrain`.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    if not is_whole(path):
        raise CheckpointError(f"{path}: truncated or damaged; use an earlier checkpoint of the run")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, KeyError, ValueError, EOFError):
        raise CheckpointError(f"{path}: not a checkpoint of `leanformer train`") from None
    if not isinstance(stored, dict) or not stored.keys() >= _KEYS:
        raise CheckpointError(f"{path}: not a checkpoint of `leanformer train`")
    return stored


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint that is there whole or not at all, whatever happens to process or machine.

    Raises:
        CheckpointError: if it cannot be written; what was there before is untouched.
    """
    unfinished = path.with_name(path.name + _UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        # Torch may wrap the system's error, or raise one of its own over it.
        causes = [one for one in (error, error.__cause__, error.__context__) if isinstance(one, OSError)]
        if not causes:
            raise
        raise CheckpointError(
            f"{path}: cannot write the checkpoint ({causes[0].strerror or causes[0]}); "
            "make room or name another folder; the checkpoints before it are untouched"
        ) from error


def remove_unfinished(run: Path) -> None:
    """Remove what a killed process left behind while it wrote."""
    for path in run.glob(f"*{SUFFIX}{_UNFINISHED}"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk too; not every system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
