"""`leanformer train`: a recipe and data become a trained model."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from leanformer.cli.outcome import OK


def train(
    recipe: Path,
    *,
    data: Annotated[tuple[Path, ...], Parameter(negative=(), consume_multiple=True)] = (),
    set: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=True)] = (),
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Train a recogniser from a recipe.

    Ctrl-C or SIGTERM saves a checkpoint first. Whatever ended a run, --resume goes on as if nothing had happened.

    Args:
        recipe: The recipe, a TOML file.
        data: Corpora, or folders of corpora. Default: $LEANFORMER_DATA, else ../shared/data.
        set: Values that replace the recipe's, such as optimizer.peak_rate=1e-3 or model.encoder.dropout=0.2.
        output: The folder for checkpoints and logs. Default: runs/NAME, with the recipe's name.
        resume: Go on from the newest checkpoint in that folder. What changed in the recipe is shown.
    """
    # A waiting thread of torch's shall sleep, not spin: another one makes the batches on the same cores. The
    # variable is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Here, not above, for a quick --help.
    from leanformer.train.overrides import load_recipe

    chosen = load_recipe(recipe, set)
    run = output or Path("runs") / chosen.name

    from leanformer.data.corpora import default_data_folder
    from leanformer.train.loop import train as train_run
    from leanformer.train.progress import Bar, Lines
    from leanformer.train.stopping import Interrupted

    on_terminal = sys.stderr.isatty()
    _log_to_standard_error(with_time=not on_terminal)
    try:
        best = train_run(
            chosen, data or (default_data_folder(),), run, resume, Bar() if on_terminal else Lines()
        )
    except Interrupted as interrupted:
        print(f"{interrupted}\nto go on: {_resume_command()}", file=sys.stderr)
        return 128 + interrupted.signal_number
    print(
        f"the best model is {best}\nnext: leanformer export {best} -o bundles/{chosen.name}", file=sys.stderr
    )
    return OK


class _ToStandardError(logging.Handler):
    """Lines on whatever standard error is at that moment: a progress bar replaces it to stay below them."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told = super().format(record)
        return told if record.levelno < logging.WARNING else f"{told}"


def _log_to_standard_error(with_time: bool) -> None:
    handler = _ToStandardError()
    handler.setFormatter(_Format("%(asctime)s %(message)s" if with_time else "%(message)s", "%H:%M:%S"))
    logger = logging.getLogger("leanformer")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _resume_command() -> str:
    import shlex

    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    return shlex.join(["leanformer", *arguments, "--resume"])
