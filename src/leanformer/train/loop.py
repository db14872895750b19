"""Training from a recipe, with exact resume.

The data of a step is a function of its number, and so is everything random in it; a checkpoint holds weights,
averages, optimiser and the number. A run that was killed therefore goes on as if it had not been.
"""

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from leanformer.config_toml import to_toml
from leanformer.data.loader import BatchStream, Dataset, TrainingBatch, dev_batches
from leanformer.errors import CheckpointError, ConfigError
from leanformer.model import SpeechModel
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.averaging import Averaging
from leanformer.train.checkpoint import (
    best_checkpoint,
    latest_checkpoint,
    list_checkpoints,
    read_checkpoint,
    set_aside_newer,
    write_checkpoint,
)
from leanformer.train.curves import Curves
from leanformer.train.initial import read_initial, take_bank, take_weights
from leanformer.train.keeping import Keeper
from leanformer.train.module import Training
from leanformer.train.overrides import differences
from leanformer.train.prepare import Prepared, make_speaker, new_model, prepare
from leanformer.train.progress import Display, Lines, Monitor
from leanformer.train.quiet import quietly
from leanformer.train.recipe import Recipe
from leanformer.train.restart import Restart
from leanformer.train.stopping import StopRequest
from leanformer.train.summary import count_usable, data_identity, describe, describe_schedule

_LOG = logging.getLogger(__name__)


class FromStep:
    """An endless loader that begins at the trainer's own step, so that a resumed run sees the same data."""

    def __init__(self, stream: BatchStream, training: Training) -> None:
        self.stream = stream
        self.training = training
        self._batches: Generator[TrainingBatch, None, None] | None = None

    def __iter__(self) -> Iterator[TrainingBatch]:
        self.close()
        self._batches = self._from(self.training.global_step)
        return self._batches

    def close(self) -> None:
        """End the thread that makes batches, which an exception elsewhere would leave running."""
        if self._batches is not None:
            self._batches.close()

    def _from(self, step: int) -> Generator[TrainingBatch, None, None]:
        yield from self.stream.iterate(step, self.training.recipe.schedule.max_steps)


class DevLoader:
    """All dev batches, anew at every iteration."""

    def __init__(self, dev: Dataset, recipe: Recipe) -> None:
        self.dev = dev
        self.recipe = recipe

    def __iter__(self) -> Iterator[TrainingBatch]:
        return dev_batches(self.dev, self.recipe.batch)


class Provenance(Callback):
    """Puts recipe, tokenizer and the identity of the data into every checkpoint: one file is all that export needs."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.data = data_identity(prepared.stream)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add them as plain values."""
        checkpoint["recipe"] = plain(self.prepared.recipe)
        checkpoint["tokenizer"] = self.prepared.tokenizer.to_bytes()
        checkpoint["data"] = self.data


class CheckpointFiles(TorchCheckpointIO):
    """Has Lightning read and write checkpoints as we do."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write whole or not at all."""
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read data only."""
        return read_checkpoint(Path(path))


def train(
    recipe: Recipe,
    folders: Sequence[Path],
    run: Path,
    resume: bool = False,
    display: Display | None = None,
    initial: Path | None = None,
) -> Path:
    """Train, and return the path of the best checkpoint on dev (the last one if there is no dev data).

    Args:
        recipe: what to do.
        folders: data folders.
        run: where checkpoints, TensorBoard logs and the recipe go.
        resume: go on from the newest whole checkpoint in `run`.
        display: where figures are shown; by default lines in the log.
        initial: a checkpoint, the folder of a run, or a bundle, to take tokenizer and weights from as far as they fit.

    Raises:
        CheckpointError: `run` holds checkpoints and `resume` is off, or none that can be used and it is on;
            `initial` is no checkpoint; or one cannot be written.
        BundleError: `initial` is a damaged bundle.
        ConfigError: the recipe no longer fits the checkpoint.
        Interrupted: after a signal, with a checkpoint saved.
    """
    start = _find_start(run, resume)
    stored = read_checkpoint(start) if start else None
    given = read_initial(initial) if initial and not start else None
    known = Tokenizer.from_bytes(stored["tokenizer"]) if stored else given.tokenizer if given else None
    prepared = prepare(recipe, folders, known)
    usable = count_usable(prepared.stream, recipe.model.encoder.subsampling.factor)
    model = SpeechModel(prepared.recipe.model) if stored else new_model(prepared)
    for line in describe(prepared, model, usable):
        _LOG.info("%s", line)
    if given:
        take_weights(model, given)
    if start and stored:
        _compare(stored, prepared, model, start)
        if int(stored["global_step"]) >= recipe.schedule.max_steps:
            _LOG.info("nothing left to train; to go on, raise it: --set schedule.max_steps=N")
            return best_checkpoint(run) or start
    first_step = int(stored["global_step"]) if stored else None
    stored = None  # hundreds of megabytes
    _write_recipe(prepared.recipe, run)
    speaker = make_speaker(prepared, model)
    if given:
        take_bank(speaker, given)
    training = Training(model, prepared.recipe, prepared.tokenizer, speaker)
    keeper = _fit(prepared, training, run, (start, first_step), display or Lines())
    assert keeper.newest is not None
    return best_checkpoint(run) or keeper.newest


def _write_recipe(recipe: Recipe, run: Path) -> None:
    try:
        (run / "recipe.toml").write_text(to_toml(recipe), encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"{run}: cannot write into this folder ({error.strerror}); name another"
        ) from None


def _find_start(run: Path, resume: bool) -> Path | None:
    """The checkpoint to begin from, if any; the folder exists afterwards."""
    begun = (run / "recipe.toml").exists()
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{run}: cannot be a folder for a run: {error.strerror}; name another"
        ) from None
    found = list_checkpoints(run)
    if not resume:
        if found:
            raise CheckpointError(
                f"{run}: holds the checkpoints of a run; add --resume, or name another folder"
            )
        return None
    start = latest_checkpoint(run)
    if start is None and (found or not begun):
        raise CheckpointError(
            f"{run}: nothing to resume, no usable checkpoint in this folder; leave --resume out"
        )
    if start is None:
        _LOG.warning("%s: the run was stopped before its first checkpoint; it begins anew", run)
    set_aside_newer(run, start)
    return start


def _compare(stored: dict[str, Any], prepared: Prepared, model: SpeechModel, start: Path) -> None:
    """Tell what differs between the run so far and now; raise ConfigError if the weights do not fit."""
    _LOG.info(
        "resuming from %s, step %d of %d", start, stored["global_step"], prepared.recipe.schedule.max_steps
    )
    changes = differences(stored["recipe"], plain(prepared.recipe))
    wanted = {f"model.{name}": value.shape for name, value in model.state_dict().items()}
    kept = {name: value.shape for name, value in stored["state_dict"].items() if name.startswith("model.")}
    if wanted != kept:
        told = "; ".join(change for change in changes if change.startswith("model."))
        raise ConfigError(
            f"{start}: its weights do not fit the recipe ({told}); undo that, or begin another run"
        )
    for change in changes:
        _LOG.warning("changed since the checkpoint: %s", change)
    if stored.get("data", data := data_identity(prepared.stream)) != data:
        _LOG.warning(
            "the training data is not what it was (%d utterances then, %d now); the run goes on with it as it is",
            stored["data"]["utterances"],
            data["utterances"],
        )


def _fit(
    prepared: Prepared, training: Training, run: Path, start: tuple[Path | None, int | None], display: Display
) -> Keeper:
    """Run Lightning, from a checkpoint and its step if there is one."""
    checkpoint, first_step = start
    request = StopRequest()
    keeper = Keeper(run, prepared.recipe.schedule, prepared.dev is not None, request)
    dev = DevLoader(prepared.dev, prepared.recipe) if prepared.dev is not None else None
    batches = FromStep(prepared.stream, training)
    with quietly(), request.restoring_handlers(), closing(batches):
        trainer = make_trainer(prepared, run, first_step, [Monitor(display, _best_so_far(run)), keeper])
        _LOG.info("%s", describe_schedule(prepared, run, trainer.strategy.root_device.type))
        request.listen()
        trainer.fit(training, batches, dev, ckpt_path=checkpoint, weights_only=True)
    return keeper


def _best_so_far(run: Path) -> Any:
    measured = [saved for saved in list_checkpoints(run) if saved.wer is not None]
    return min(measured, key=lambda saved: saved.wer or 0.0, default=None)


def make_trainer(
    prepared: Prepared, run: Path, first_step: int | None, callbacks: Sequence[Callback]
) -> lightning.Trainer:
    """The Lightning trainer that a recipe asks for; `first_step` is that of a run which is resumed."""
    recipe, schedule = prepared.recipe, prepared.recipe.schedule
    return lightning.Trainer(
        default_root_dir=run,
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=1,
        precision="bf16-mixed",
        max_steps=schedule.max_steps,
        val_check_interval=schedule.dev_every_steps,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        logger=Curves(run, first_step),
        enable_model_summary=False,
        enable_progress_bar=False,
        plugins=[CheckpointFiles()],
        callbacks=[
            Averaging(recipe.optimizer.average_decay, recipe.optimizer.warmup_steps),
            Restart(schedule.dev_every_steps),
            Provenance(prepared),
            *callbacks,
        ],
    )


def plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values, as checkpoints hold it."""
    return recipe.model_dump(mode="json", exclude_none=True)
