"""`leanformer train`: a recipe and data become a trained model."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from leanformer.cli.outcome import OK, UsageError

_Several = Parameter(negative=(), consume_multiple=True)


def train(
    recipe: Path,
    *,
    data: Annotated[tuple[Path, ...], _Several] = (),
    changes: Annotated[tuple[str, ...], _Several, Parameter(name="--set")] = (),
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    initial: Annotated[Path | None, Parameter(name="--from")] = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Train a recogniser from a recipe.

    Ctrl-C or SIGTERM saves a checkpoint first. Whatever ended a run, --resume goes on as if nothing had happened.

    Args:
        recipe: The recipe, a TOML file.
        data: Corpora, or folders of corpora. Default: $LEANFORMER_DATA, else ../shared/data.
        changes: KEY=VALUE pairs that replace values of the recipe, as in optimizer.peak_rate=1e-3.
        output: The folder for checkpoints and logs. Default: runs/NAME, with the recipe's name.
        initial: A checkpoint, a run's folder or a bundle (also "default") to begin with: its tokenizer, and its
            weights as far as they fit.
        resume: Go on from the newest checkpoint in that folder. What changed in the recipe is shown.
    """
    # A thread of torch's that waits shall sleep, not spin: on the same cores the next batches are made. Torch reads
    # this when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Here, not above, for a quick --help.
    from leanformer.train.overrides import load_recipe

    if resume and initial:
        raise UsageError("--resume goes on with the weights of the run itself; leave --from out")
    chosen = load_recipe(recipe, changes)
    run = output or Path("runs") / chosen.name

    from leanformer.data.layouts.selection import default_data_folder
    from leanformer.train.loop import train as train_run
    from leanformer.train.progress import Bar, Lines
    from leanformer.train.stopping import Interrupted

    on_terminal = sys.stderr.isatty()
    _log_to_standard_error(with_time=not on_terminal)
    try:
        best = train_run(
            chosen, data or (default_data_folder(),), run, resume, Bar() if on_terminal else Lines(), initial
        )
    except Interrupted as interrupted:
        _say(str(interrupted), f"to go on: {_resume_command(recipe, data, changes, run)}")
        return 128 + interrupted.signal_number
    bundle = Path("bundles") / chosen.name
    _say(f"best model: {best}", f"next: {shlex.join(['leanformer', 'export', str(best), '-o', str(bundle)])}")
    return OK


def _resume_command(recipe: Path, data: Sequence[Path], changes: Sequence[str], run: Path) -> str:
    arguments = ["leanformer", "train", str(recipe)]
    if data:
        arguments += ["--data", *map(str, data)]
    if changes:
        arguments += ["--set", *changes]
    return shlex.join([*arguments, "-o", str(run), "--resume"])


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)


class _ToStandardError(logging.Handler):
    """Lines on what standard error is at that moment: a progress bar replaces it, to stay below the lines."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(self.format(record))


class _Lines(logging.Formatter):
    """Warnings are called so; the rest is as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        line = super().formatMessage(record)
        return f"warning: {line}" if record.levelno >= logging.WARNING else line


def _log_to_standard_error(with_time: bool) -> None:
    handler = _ToStandardError()
    handler.setFormatter(_Lines("%(asctime)s  %(message)s" if with_time else "%(message)s", "%H:%M:%S"))
    logger = logging.getLogger("leanformer")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # Its reports of what was read stand in the run's own summary; what was skipped is a warning, and remains.
    logging.getLogger("leanformer.data.corpora").setLevel(logging.WARNING)
