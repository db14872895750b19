"""How a run goes on from a checkpoint as if it had not been interrupted.

Where a run stands is its number of steps, and whether the dev pass due at that step is still to be made. Lightning
keeps two dozen counters, whose values depend on the hook in which a checkpoint was saved, and with some of them it
skips a dev pass or ends at once. So a checkpoint holds the two facts, and the counters are made from them.
"""

from typing import Any

from lightning.pytorch.callbacks import Callback

from leanformer.errors import CheckpointError

PENDING = "dev_pending"


def store_progress(checkpoint: dict[str, Any], dev_pending: bool) -> None:
    """Leave the step (which Lightning stores as `global_step`) and `dev_pending` in a checkpoint being saved."""
    checkpoint[PENDING] = dev_pending
    checkpoint["loops"] = {}


class Restart(Callback):
    """Puts a loaded checkpoint into the terms of Lightning, and of the recipe as it is now."""

    def __init__(self, dev_every_steps: int) -> None:
        self.dev_every_steps = dev_every_steps
        self._options: list[dict[str, Any]] = []

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Make the counters, before Lightning takes them over."""
        dev_every_steps = self.dev_every_steps if trainer.enable_validation else None
        pending = bool(checkpoint.get(PENDING, False))
        fresh = trainer.fit_loop.state_dict()
        checkpoint["loops"] = {
            "fit_loop": counters(fresh, int(checkpoint["global_step"]), dev_every_steps, pending)
        }

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Note the options that the recipe gave the optimiser, before those of the checkpoint replace them."""
        self._options = [
            {key: value for key, value in group.items() if key not in ("params", "lr")}
            for group in trainer.optimizers[0].param_groups
        ]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Have optimiser and schedule follow the recipe, which may be another than when the checkpoint was saved."""
        (config,) = trainer.lr_scheduler_configs
        schedule = config.scheduler
        schedule.base_lrs = [options["initial_lr"] for options in self._options]
        factors = [factor(schedule.last_epoch) for factor in schedule.lr_lambdas]
        groups = trainer.optimizers[0].param_groups
        for group, options, base, factor in zip(
            groups, self._options, schedule.base_lrs, factors, strict=True
        ):
            group.update(options, lr=base * factor)


def counters(
    fresh: dict[str, Any], step: int, dev_every_steps: int | None, dev_pending: bool
) -> dict[str, Any]:
    """The state of Lightning's fit loop after `step` steps.

    Args:
        fresh: that of a loop which has not run.
        step: optimiser steps made, one batch each.
        dev_every_steps: None without dev passes.
        dev_pending: a dev pass is due at this step, and not made.

    Raises:
        CheckpointError: if this Lightning counts otherwise.
    """
    due = dev_every_steps is not None and step % dev_every_steps == 0
    try:
        # Lightning passes a dev pass that was made by an empty round, which counts one more.
        fresh["epoch_loop.state_dict"]["_batches_that_stepped"] = step - 1 if due else step
        optimizer = fresh["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
        for progress in (
            fresh["epoch_loop.batch_progress"],
            fresh["epoch_loop.scheduler_progress"],
            optimizer["step"],
            optimizer["zero_grad"],
        ):
            _set_all(progress, step)
        epoch = fresh["epoch_progress"]
        for scope in ("total", "current"):
            epoch[scope] |= {"ready": 1, "started": 1}
            # A dev pass that has begun and not ended is what makes Lightning begin it again.
            if due and dev_pending:
                fresh["epoch_loop.val_loop.batch_progress"][scope] |= {"ready": 1, "started": 1}
    except KeyError as error:
        raise CheckpointError(
            f"this version of Lightning has no counter {error}; install one of 2.6"
        ) from None
    return fresh


def _set_all(progress: dict[str, Any], value: int) -> None:
    for scope in ("total", "current"):
        progress[scope] |= dict.fromkeys(progress[scope], value)
