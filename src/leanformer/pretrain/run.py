"""Pre-training from a recipe, with exact resume; `train/fitting.py` says how."""

import logging
from collections.abc import Sequence
from pathlib import Path

from leanformer.errors import CheckpointError
from leanformer.pretrain.model import PretrainModel
from leanformer.pretrain.module import Pretraining
from leanformer.pretrain.prepare import Prepared, describe, new_model, prepare
from leanformer.pretrain.recipe import PretrainRecipe
from leanformer.train.checkpoint import best_checkpoint, is_recogniser, read_checkpoint
from leanformer.train.figure import LOSS
from leanformer.train.fitting import Plan, compare, find_start, fit, is_over
from leanformer.train.progress import Display, Lines

_LOG = logging.getLogger(__name__)


def pretrain(
    recipe: PretrainRecipe,
    folders: Sequence[Path],
    run: Path,
    resume: bool = False,
    display: Display | None = None,
) -> Path:
    """Pre-train, and return the path of the best checkpoint on dev (the last one if there is no dev data).

    Args:
        recipe: what to do.
        folders: folders of audio, or corpora.
        run: where checkpoints, TensorBoard logs and the recipe go.
        resume: go on from the newest whole checkpoint in `run`.
        display: where figures are shown; by default lines in the log.

    Raises:
        CheckpointError: `run` holds checkpoints and `resume` is off, or none that can be used and it is on; or one
            cannot be written.
        ConfigError: the recipe no longer fits the checkpoint.
        DataError: there is no audio to learn from.
        Interrupted: after a signal, with a checkpoint saved.
    """
    start = find_start(run, resume)
    stored = read_checkpoint(start) if start else None
    if stored and is_recogniser(stored):
        raise CheckpointError(f"{start}: is of `leanformer train`; go on with that, or name another folder")
    prepared = prepare(recipe, folders)
    model = PretrainModel(recipe.encoder, recipe.objective) if stored else new_model(prepared)
    for line in describe(prepared, model):
        _LOG.info("%s", line)
    plan = _plan(prepared, run)
    if start and stored:
        compare(stored, plan, model, start)
        if is_over(stored, recipe.schedule):
            return best_checkpoint(run) or start
    first_step = int(stored["global_step"]) if stored else None
    stored = None  # hundreds of megabytes
    newest = fit(plan, Pretraining(model, recipe), prepared.batch, (start, first_step), display or Lines())
    return best_checkpoint(run) or newest


def _plan(prepared: Prepared, run: Path) -> Plan:
    recipe = prepared.recipe
    return Plan(run, recipe, recipe.optimizer, recipe.schedule, prepared.stream, prepared.dev, {}, LOSS)
