"""Training from a recipe, with exact resume.

The data of a step is a function of its number, and so is everything random in it; a checkpoint holds weights,
averages, optimiser and the number. A run that was killed therefore goes on as if it had not been.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from leanformer.errors import CheckpointError
from leanformer.model import SpeechModel
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.checkpoint import best_checkpoint, is_recogniser, read_checkpoint
from leanformer.train.fitting import Plan, compare, find_start, fit, is_over
from leanformer.train.initial import read_initial, take_bank, take_weights
from leanformer.train.module import Training
from leanformer.train.prepare import Prepared, make_speaker, new_model, prepare
from leanformer.train.progress import Display, Lines
from leanformer.train.recipe import Recipe
from leanformer.train.summary import count_usable, describe

_LOG = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    folders: Sequence[Path],
    run: Path,
    resume: bool = False,
    display: Display | None = None,
    initial: Path | None = None,
    partial: bool = False,
) -> Path:
    """Train, and return the path of the best checkpoint on dev (the last one if there is no dev data).

    Args:
        recipe: what to do.
        folders: data folders.
        run: where checkpoints, TensorBoard logs and the recipe go.
        resume: go on from the newest whole checkpoint in `run`.
        display: where figures are shown; by default lines in the log.
        initial: a checkpoint, the folder of a run, or a bundle, to take tokenizer and weights from.
        partial: take what fits of an encoder that is not the recipe's.

    Raises:
        CheckpointError: `run` holds checkpoints and `resume` is off, or none that can be used and it is on;
            `initial` is no checkpoint; or one cannot be written.
        BundleError: `initial` is a damaged bundle.
        ConfigError: the recipe no longer fits the checkpoint.
        Interrupted: after a signal, with a checkpoint saved.
    """
    start = find_start(run, resume)
    stored = read_checkpoint(start) if start else None
    if stored and not is_recogniser(stored):
        raise CheckpointError(
            f"{start}: is of `leanformer pretrain`; go on with that, or name another folder"
        )
    given = read_initial(initial) if initial and not start else None
    known = Tokenizer.from_bytes(stored["tokenizer"]) if stored else given.tokenizer if given else None
    prepared = prepare(recipe, folders, known)
    usable = count_usable(prepared.stream, recipe.model.encoder.subsampling.factor)
    model = SpeechModel(prepared.recipe.model) if stored else new_model(prepared)
    for line in describe(prepared, model, usable):
        _LOG.info("%s", line)
    if given:
        take_weights(model, given, partial)
    plan = _plan(prepared, run)
    if start and stored:
        compare(stored, plan, model, start)
        if is_over(stored, recipe.schedule):
            return best_checkpoint(run) or start
    first_step = int(stored["global_step"]) if stored else None
    stored = None  # hundreds of megabytes
    speaker = make_speaker(prepared, model)
    if given:
        take_bank(speaker, given)
    training = Training(model, prepared.recipe, prepared.tokenizer, speaker)
    newest = fit(plan, training, recipe.batch, (start, first_step), display or Lines())
    return best_checkpoint(run) or newest


def _plan(prepared: Prepared, run: Path) -> Plan:
    recipe = prepared.recipe
    stored = {"tokenizer": prepared.tokenizer.to_bytes()}
    return Plan(run, recipe, recipe.optimizer, recipe.schedule, prepared.stream, prepared.dev, stored)
