"""`leanformer train`: a recipe and data become a trained model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from leanformer.cli.outcome import OK, UsageError
from leanformer.cli.runs import let_threads_sleep, log_to_standard_error, resume_command, say

_Several = Parameter(negative=(), consume_multiple=True)


def train(
    recipe: Path,
    *,
    data: Annotated[tuple[Path, ...], _Several] = (),
    changes: Annotated[tuple[str, ...], _Several, Parameter(name="--set")] = (),
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    initial: Annotated[Path | None, Parameter(name=["--from", "--init-from"])] = None,
    partial: Annotated[bool, Parameter(negative=())] = False,
    resume: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Train a recogniser from a recipe.

    Ctrl-C or SIGTERM saves a checkpoint first. Whatever ended a run, --resume goes on as if nothing had happened.

    Args:
        recipe: The recipe, a TOML file.
        data: Corpora, or folders of corpora. Default: $LEANFORMER_DATA, else ../shared/data.
        changes: KEY=VALUE pairs that replace values of the recipe, as in optimizer.peak_rate=1e-3.
        output: The folder for checkpoints and logs. Default: runs/NAME, with the recipe's name.
        initial: A checkpoint, a run's folder or a bundle (also "default") to begin with: its tokenizer and its
            weights. Outputs and a second pass may be new, the encoder has to be the same.
        partial: With --from, take what fits of another encoder.
        resume: Go on from the newest checkpoint in that folder. What changed in the recipe is shown.
    """
    let_threads_sleep()
    # Here, not above, for a quick --help.
    from leanformer.train.overrides import load_recipe

    if resume and initial:
        raise UsageError("--resume goes on with the weights of the run itself; leave --from out")
    if partial and not initial:
        raise UsageError("--partial is about the weights to begin with: add --from")
    chosen = load_recipe(recipe, changes)
    run = output or Path("runs") / chosen.name

    from leanformer.data.layouts.selection import default_data_folder
    from leanformer.train.loop import train as train_run
    from leanformer.train.progress import Bar, Lines
    from leanformer.train.stopping import Interrupted

    on_terminal = log_to_standard_error()
    try:
        display = Bar() if on_terminal else Lines()
        folders = data or (default_data_folder(),)
        best = train_run(chosen, folders, run, resume, display, initial, partial)
    except Interrupted as interrupted:
        say(str(interrupted), f"to go on: {resume_command('train', recipe, data, changes, run)}")
        return 128 + interrupted.signal_number
    bundle = Path("bundles") / chosen.name
    say(f"best model: {best}", f"next: {shlex.join(['leanformer', 'export', str(best), '-o', str(bundle)])}")
    return OK
