"""How a command begins and ends: standard input, exit codes, and errors as one line on standard error."""

from __future__ import annotations

import sys

from leanformer.errors import LeanformerError

# What "-" stands for, as a name that may also be given in full.
STDIN = "/dev/stdin"

OK, ERROR, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141


class UsageError(LeanformerError):
    """Options that do not go together; ends the command with the exit code of a usage error."""


def report(error: Exception, code: int = ERROR) -> int:
    """Say on standard error, in one line, what went wrong; returns the exit code `code`."""
    print(f"leanformer: error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return code


def in_words(error: OSError, place: str | None = None) -> LeanformerError:
    """An error of the operating system, such as a full disk, with the file it happened to.

    `place` is said when the error itself does not know.
    """
    where = place if error.filename is None else error.filename
    reason = error.strerror or str(error)
    return LeanformerError(reason if where is None else f"{where}: {reason}")
