"""`leanformer VERB ...`: finds the verb, and turns errors into one line and an exit code.

    0    done            2    wrong usage
    1    an error        130  interrupted (Ctrl-C)      141  the reader of our output went away

A verb is imported when it is called, so that `--help` is quick and the core needs no extras.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from cyclopts import App, CycloptsError, UnknownCommandError

from leanformer.cli.outcome import (
    BROKEN_PIPE,
    ERROR,
    INTERRUPTED,
    OK,
    STDIN,
    USAGE,
    UsageError,
    in_words,
    report,
)
from leanformer.errors import LeanformerError, MissingExtraError


@dataclass(frozen=True, slots=True)
class Verb:
    """A command: the function `name` in `leanformer.cli.<name>`, and the extra it needs, if any."""

    name: str
    help: str
    extra: str | None = None


VERBS = (
    Verb("transcribe", "Write down the speech in files, folders or standard input."),
    Verb("mic", "Write down what is spoken into a microphone, live.", "mic"),
    Verb("evaluate", "Measure a bundle's word error rate and speed on transcribed speech.", "evaluate"),
    Verb("lm", "Build a language model from text."),
    Verb("tune", "Find how much a language model should count, on transcribed speech.", "evaluate"),
    Verb("train", "Train a recogniser from a recipe.", "train"),
    Verb("pretrain", "Pre-train an encoder on audio without transcripts.", "train"),
    Verb("consistency", "Measure how alike the layers of an encoder are.", "train"),
    Verb("probe", "Read phones out of each layer of an encoder, linearly.", "train"),
    Verb("tokenizer", "Train a tokenizer on the transcripts of a corpus.", "train"),
    Verb("align", "Align transcripts with their audio, as targets for training.", "train"),
    Verb("export", "Turn a checkpoint into a bundle that runs without torch.", "export"),
    Verb("presets", "List the ready-made models with their size and cost.", "export"),
    Verb("profile", "Say what a model costs: size, state, energy, latency.", "export"),
    Verb("design", "Find a model for a budget, by what it costs.", "export"),
)


def _version() -> str:
    from leanformer import __version__

    return str(__version__)


def make_app() -> App:
    """The command line with all verbs, none of them imported yet."""
    app = App(
        name="leanformer",
        help="Train, shrink, export and stream Conformer speech recognisers.",
        version=_version,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for verb in VERBS:
        app.command(f"leanformer.cli.{verb.name}:{verb.name}", name=verb.name, help=verb.help)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (default: the process's own) and return its exit code."""
    # Cyclopts takes a lone hyphen for an option without a name.
    arguments = [STDIN if one == "-" else one for one in (sys.argv[1:] if arguments is None else arguments)]
    try:
        # Cyclopts' own report of an unknown verb imports all of them; and ours is one line, as other errors.
        result = make_app()(arguments, print_error=False, exit_on_error=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        _discard_output()
        return BROKEN_PIPE
    except Exception as error:
        code = report(*_explained(error, arguments))
        _discard_output()
        return code
    return result if isinstance(result, int) else OK


def _explained(error: Exception, arguments: Sequence[str]) -> tuple[Exception, int]:
    """What to tell the user, and the exit code; raises an error again that is a mistake of ours."""
    match error:
        case UnknownCommandError():
            return _unknown_verb(arguments), USAGE
        case CycloptsError():
            return UsageError(f"{error} See `{_help_command(arguments)}`."), USAGE
        case UsageError():
            return error, USAGE
        case LeanformerError():
            return error, ERROR
        case ImportError():
            return _missing_extra(error, arguments), ERROR
        case OSError() if error.errno is not None:
            return in_words(error), ERROR
    raise error


def _discard_output() -> None:
    """Have Python's last flush of standard output go nowhere: what made it fail once was reported."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unknown_verb(arguments: Sequence[str]) -> Exception:
    verbs = [verb.name for verb in VERBS]
    near = get_close_matches(arguments[0], verbs, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the commands are {', '.join(verbs)}"
    return LeanformerError(f"unknown command {arguments[0]!r}: {hint}")


def _help_command(arguments: Sequence[str]) -> str:
    verb = next((verb.name for verb in VERBS if verb.name in arguments[:1]), None)
    return " ".join(part for part in ("leanformer", verb, "--help") if part)


def _missing_extra(error: ImportError, arguments: Sequence[str]) -> Exception:
    """What to tell about a failed import; one that is no extra's is a defect, and raised again."""
    verb = next((verb for verb in VERBS if verb.name in arguments[:1]), None)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MissingExtraError):
            return cause
        if isinstance(cause, ModuleNotFoundError) and verb and verb.extra:
            package = (cause.name or "").split(".")[0]
            if package and package != "leanformer":
                return MissingExtraError(package, verb.extra)
        cause = cause.__cause__
    raise error
