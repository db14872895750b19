"""When to save a checkpoint, and which ones to keep."""

import json
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Checkpoint

from leanformer.errors import CheckpointError
from leanformer.train.checkpoint import KEEP_BEST, file_name, list_checkpoints, remove_unfinished, superfluous
from leanformer.train.figure import WER, DevFigure
from leanformer.train.recipe import ScheduleConfig
from leanformer.train.restart import store_progress
from leanformer.train.stopping import Interrupted, StopRequest

DIVERGED = "diverged.json"
"""In the folder of a run that ended because its weights were no longer finite: the `step` at which that was found."""


class Keeper(Checkpoint):
    """Saves every so many minutes, after good dev passes, at the end, and when a signal asks to stop.

    Where a dev pass is due, it comes first, so that its figure is in the name; only a signal does not wait.

    Args:
        run: the folder.
        schedule: how long, and how often to look.
        has_dev: whether there are dev passes.
        request: tells of signals.
        figure: of the dev passes, by which checkpoints are ranked.
    """

    def __init__(
        self,
        run: Path,
        schedule: ScheduleConfig,
        has_dev: bool,
        request: StopRequest,
        figure: DevFigure = WER,
    ) -> None:
        self.run, self.schedule, self.has_dev, self.request = run, schedule, has_dev, request
        self.figure = figure
        self.newest: Path | None = None
        self._saved_at = time.monotonic()
        self._dev_pending = False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock, and take the signals back from Lightning, which would not save."""
        remove_unfinished(self.run)
        (self.run / DIVERGED).unlink(missing_ok=True)
        self._saved_at = time.monotonic()
        self.request.listen()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time."""
        step = trainer.global_step
        ends = step >= self.schedule.max_steps
        if ends:
            trainer.should_stop = True  # so Lightning makes a last dev pass wherever the end falls
        dev_due = self.has_dev and (ends or step % self.schedule.dev_every_steps == 0)
        # The last dev pass is as good as the end: it is not interrupted.
        if self.request.signal_number is not None and not ends:
            self._save(trainer, dev_pending=dev_due)
            self._stop()
        elif not dev_due and (ends or self._is_time()):
            self._save(trainer)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Break off a dev pass if a signal came; it is made again when the run goes on."""
        if self.request.signal_number is not None and trainer.global_step < self.schedule.max_steps:
            self._save(trainer, dev_pending=True)
            self._stop()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Save a good model, or any if it is time."""
        score = float(trainer.callback_metrics[self.figure.logged])
        ranking = sorted(saved.score for saved in list_checkpoints(self.run) if saved.score is not None)
        is_good = len(ranking) < KEEP_BEST or score <= ranking[KEEP_BEST - 1]
        ends = trainer.global_step >= self.schedule.max_steps
        if is_good or ends or self._is_time() or self.request.signal_number is not None:
            self._save(trainer, score)
        if self.request.signal_number is not None and not ends:
            self._stop()

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Store where the run stands in place of Lightning's own account of it."""
        store_progress(checkpoint, self._dev_pending)

    def _is_time(self) -> bool:
        return time.monotonic() - self._saved_at >= 60.0 * self.schedule.checkpoint_minutes

    def _save(self, trainer: Any, score: float | None = None, dev_pending: bool = False) -> None:
        _require_finite(trainer, self.run)
        self._dev_pending = dev_pending
        self.newest = self.run / file_name(trainer.global_step, score, self.figure)
        trainer.save_checkpoint(self.newest)
        self._saved_at = time.monotonic()
        for saved in superfluous(list_checkpoints(self.run)):
            saved.path.unlink(missing_ok=True)

    def _stop(self) -> None:
        assert self.request.signal_number is not None
        assert self.newest is not None
        raise Interrupted(self.request.signal_number, self.newest)


def _require_finite(trainer: Any, run: Path) -> None:
    """A run that diverged ends here, and says so in its folder: its checkpoints would push out the good ones."""
    if not all(bool(weight.isfinite().all()) for weight in trainer.lightning_module.parameters()):
        (run / DIVERGED).write_text(json.dumps({"step": trainer.global_step}), encoding="utf-8")
        raise CheckpointError(
            f"step {trainer.global_step}: the weights are no longer finite, so they were not saved; lower "
            "optimizer.peak_rate (or look for bad data), and go on from the checkpoint before with --resume"
        )
