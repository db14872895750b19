"""What every kind of run has around its steps: begin or go on in a folder, run Lightning, keep checkpoints.

Recognisers (`loop.py`) and pre-training (`pretrain/run.py`) differ in what a step does and in what a checkpoint says
about itself; `Plan` is all that they tell here.
"""

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from torch import nn

from leanformer.config import Frozen
from leanformer.config_toml import to_toml
from leanformer.data.batching import BatchConfig
from leanformer.data.loader import BatchStream, Dataset, TrainingBatch, dev_batches
from leanformer.errors import CheckpointError, ConfigError
from leanformer.train.averaging import Averaging
from leanformer.train.checkpoint import (
    latest_checkpoint,
    list_checkpoints,
    read_checkpoint,
    set_aside_newer,
    write_checkpoint,
)
from leanformer.train.curves import Curves
from leanformer.train.figure import WER, DevFigure
from leanformer.train.keeping import Keeper
from leanformer.train.overrides import differences
from leanformer.train.progress import Display, Monitor
from leanformer.train.quiet import quietly
from leanformer.train.recipe import OptimizerConfig, ScheduleConfig
from leanformer.train.restart import Restart
from leanformer.train.stopping import StopRequest
from leanformer.train.summary import data_identity, describe_schedule

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A run as this module sees it.

    Attributes:
        run: the folder.
        recipe: goes into every checkpoint, and beside them as recipe.toml.
        optimizer, schedule: the recipe's.
        stream: the training batches.
        dev: what is measured on, if anything.
        stored: more that goes into every checkpoint, as plain values.
        figure: what a dev pass logs to be judged by.
    """

    run: Path
    recipe: Frozen
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    stream: BatchStream
    dev: Dataset | None
    stored: Mapping[str, Any]
    figure: DevFigure = WER


class FromStep:
    """An endless loader that begins at the trainer's own step, so that a resumed run sees the same data."""

    def __init__(self, stream: BatchStream, module: lightning.LightningModule, max_steps: int) -> None:
        self.stream = stream
        self.module = module
        self.max_steps = max_steps
        self._batches: Generator[TrainingBatch, None, None] | None = None

    def __iter__(self) -> Iterator[TrainingBatch]:
        self.close()
        self._batches = self._from(self.module.global_step)
        return self._batches

    def close(self) -> None:
        """End the thread that makes batches, which an exception elsewhere would leave running."""
        if self._batches is not None:
            self._batches.close()

    def _from(self, step: int) -> Generator[TrainingBatch, None, None]:
        yield from self.stream.iterate(step, self.max_steps)


class DevLoader:
    """All dev batches, anew at every iteration."""

    def __init__(self, dev: Dataset, batch: BatchConfig) -> None:
        self.dev = dev
        self.batch = batch

    def __iter__(self) -> Iterator[TrainingBatch]:
        return dev_batches(self.dev, self.batch)


class Provenance(Callback):
    """Puts the recipe, the identity of the data and what else the plan says into every checkpoint.

    One file is then all that export, or whatever follows, needs.
    """

    def __init__(self, plan: Plan) -> None:
        self.content = {
            **plan.stored,
            "recipe": plain(plan.recipe),
            "data": data_identity(plan.stream),
        }

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add them as plain values."""
        checkpoint.update(self.content)


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


def find_start(run: Path, resume: bool) -> Path | None:
    """The checkpoint to begin from, if any; the folder exists afterwards.

    Raises:
        CheckpointError: `run` holds checkpoints and `resume` is off, or none that can be used and it is on; or it
            cannot be a folder.
    """
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


def compare(stored: Mapping[str, Any], plan: Plan, model: nn.Module, start: Path) -> None:
    """Tell what differs between the run so far and now.

    Raises:
        ConfigError: the weights do not fit.
    """
    _LOG.info("resuming from %s, step %d of %d", start, stored["global_step"], plan.schedule.max_steps)
    changes = differences(stored["recipe"], plain(plan.recipe))
    wanted = {f"model.{name}": value.shape for name, value in model.state_dict().items()}
    kept = {name: value.shape for name, value in stored["state_dict"].items() if name.startswith("model.")}
    if wanted != kept:
        told = "; ".join(
            change for change in changes if change.startswith(("model.", "encoder.", "objective."))
        )
        raise ConfigError(
            f"{start}: its weights do not fit the recipe ({told}); undo that, or begin another run"
        )
    for change in changes:
        _LOG.warning("changed since the checkpoint: %s", change)
    if stored.get("data", data := data_identity(plan.stream)) != data:
        _LOG.warning(
            "the training data is not what it was (%d utterances then, %d now); the run goes on with it as it is",
            stored["data"]["utterances"],
            data["utterances"],
        )


def is_over(stored: Mapping[str, Any], schedule: ScheduleConfig) -> bool:
    """Whether a run that is resumed has no step left to make; says so."""
    over = int(stored["global_step"]) >= schedule.max_steps
    if over:
        _LOG.info("nothing left to train; to go on, raise it: --set schedule.max_steps=N")
    return over


def fit(
    plan: Plan,
    module: lightning.LightningModule,
    batch: BatchConfig,
    start: tuple[Path | None, int | None],
    display: Display,
) -> Path:
    """Run Lightning, from a checkpoint and its step if there is one; the path of the last checkpoint.

    Raises:
        CheckpointError: one cannot be written, or the weights are no longer finite.
        Interrupted: after a signal, with a checkpoint saved.
    """
    checkpoint, first_step = start
    _write_recipe(plan.recipe, plan.run)
    request = StopRequest()
    keeper = Keeper(plan.run, plan.schedule, plan.dev is not None, request, plan.figure)
    dev = None if plan.dev is None else DevLoader(plan.dev, batch)
    batches = FromStep(plan.stream, module, plan.schedule.max_steps)
    with quietly(), request.restoring_handlers(), closing(batches):
        monitor = Monitor(display, _best_so_far(plan.run), plan.figure)
        trainer = make_trainer(plan, first_step, [monitor, keeper])
        device = trainer.strategy.root_device.type
        _LOG.info("%s", describe_schedule(plan.schedule, plan.stream, dev is not None, plan.run, device))
        request.listen()
        trainer.fit(module, batches, dev, ckpt_path=checkpoint, weights_only=True)
    assert keeper.newest is not None
    return keeper.newest


def make_trainer(plan: Plan, first_step: int | None, callbacks: Sequence[Callback]) -> lightning.Trainer:
    """The Lightning trainer that a plan asks for; `first_step` is that of a run which is resumed."""
    return lightning.Trainer(
        default_root_dir=plan.run,
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=1,
        precision="bf16-mixed",
        max_steps=plan.schedule.max_steps,
        val_check_interval=plan.schedule.dev_every_steps,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        logger=Curves(plan.run, first_step),
        enable_model_summary=False,
        enable_progress_bar=False,
        plugins=[CheckpointFiles()],
        callbacks=[
            Averaging(plan.optimizer.average_decay, plan.optimizer.warmup_steps),
            Restart(plan.schedule.dev_every_steps),
            Provenance(plan),
            *callbacks,
        ],
    )


def plain(recipe: Frozen) -> dict[str, Any]:
    """A recipe as plain values, as checkpoints hold it."""
    return recipe.model_dump(mode="json", exclude_none=True)


def _write_recipe(recipe: Frozen, run: Path) -> None:
    try:
        (run / "recipe.toml").write_text(to_toml(recipe), encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"{run}: cannot write into this folder ({error.strerror}); name another"
        ) from None


def _best_so_far(run: Path) -> Any:
    measured = [saved for saved in list_checkpoints(run) if saved.score is not None]
    return min(measured, key=lambda saved: saved.score or 0.0, default=None)
