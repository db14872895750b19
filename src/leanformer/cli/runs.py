"""What the verbs that train have in common: lines on standard error, and the command that goes on with a run."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


def let_threads_sleep() -> None:
    """Have a thread of torch's that waits sleep, not spin: on the same cores the next batches are made.

    Torch reads this when it is loaded, so it comes before the import.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def resume_command(verb: str, recipe: Path, data: Sequence[Path], changes: Sequence[str], run: Path) -> str:
    """The command line that goes on with a run."""
    arguments = ["leanformer", verb, str(recipe)]
    if data:
        arguments += ["--data", *map(str, data)]
    if changes:
        arguments += ["--set", *changes]
    return shlex.join([*arguments, "-o", str(run), "--resume"])


def say(*lines: str) -> None:
    """Lines on standard error, at once."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)


class _ToStandardError(logging.Handler):
    """Lines on what standard error is at that moment: a progress bar replaces it, to stay below the lines."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


class _Lines(logging.Formatter):
    """Warnings are called so; the rest is as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        line = super().formatMessage(record)
        return f"warning: {line}" if record.levelno >= logging.WARNING else line


def log_to_standard_error() -> bool:
    """Show the log on standard error, with the time unless that is a terminal; returns whether it is one."""
    on_terminal = sys.stderr.isatty()
    handler = _ToStandardError()
    handler.setFormatter(_Lines("%(message)s" if on_terminal else "%(asctime)s  %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("leanformer")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # Its reports of what was read stand in the run's own summary; what was skipped is a warning, and remains.
    logging.getLogger("leanformer.data.corpora").setLevel(logging.WARNING)
    return on_terminal
