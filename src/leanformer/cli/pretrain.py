"""`leanformer pretrain`: a recipe and audio without transcripts become an encoder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from leanformer.cli.outcome import OK
from leanformer.cli.runs import let_threads_sleep, log_to_standard_error, resume_command, say

_Several = Parameter(negative=(), consume_multiple=True)


def pretrain(
    recipe: Path,
    *,
    data: Annotated[tuple[Path, ...], _Several] = (),
    changes: Annotated[tuple[str, ...], _Several, Parameter(name="--set")] = (),
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Pre-train an encoder on audio without transcripts.

    Ctrl-C or SIGTERM saves a checkpoint first. Whatever ended a run, --resume goes on as if nothing had happened.

    Args:
        recipe: The recipe, a TOML file.
        data: Folders of audio, corpora, or folders of these. Default: $LEANFORMER_DATA, else ../shared/data.
        changes: KEY=VALUE pairs that replace values of the recipe, as in optimizer.peak_rate=1e-3.
        output: The folder for checkpoints and logs. Default: runs/NAME, with the recipe's name.
        resume: Go on from the newest checkpoint in that folder. What changed in the recipe is shown.
    """
    let_threads_sleep()
    # Here, not above, for a quick --help.
    from leanformer.pretrain.recipe import load_pretrain_recipe

    chosen = load_pretrain_recipe(recipe, changes)
    run = output or Path("runs") / chosen.name

    from leanformer.data.layouts.selection import default_data_folder
    from leanformer.pretrain.run import pretrain as pretrain_run
    from leanformer.train.progress import Bar, Lines
    from leanformer.train.stopping import Interrupted

    on_terminal = log_to_standard_error()
    display = Bar() if on_terminal else Lines()
    try:
        best = pretrain_run(chosen, data or (default_data_folder(),), run, resume, display)
    except Interrupted as interrupted:
        say(str(interrupted), f"to go on: {resume_command('pretrain', recipe, data, changes, run)}")
        return 128 + interrupted.signal_number
    following = ["leanformer", "train", "RECIPE.toml", "--from", str(best)]
    say(f"best model: {best}", f"next: {shlex.join(following)}")
    return OK
