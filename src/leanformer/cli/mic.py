"""`leanformer mic`: live captions of what is spoken into a microphone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from leanformer.cli.decoding import USUAL, Decoding
from leanformer.cli.outcome import OK, STDIN, in_words, report
from leanformer.errors import AudioError, LeanformerError
from leanformer.runtime.bundle import DEFAULT, Precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from leanformer.audio.microphone import Microphone
    from leanformer.audio.source import Source
    from leanformer.cli.captions import Captions
    from leanformer.cli.interrupt import Interrupt
    from leanformer.runtime.recognizer import Recognizer

_AtLeastOne = Parameter(validator=validators.Number(gte=1))
_BLOCK_SECONDS = 0.1
_WARN_EVERY_SECONDS = 5.0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What to listen to, and with which model."""

    device: Annotated[str | None, Parameter(name=["--device", "-d"])] = None
    """The microphone: its number, or a part of its name. Default: the system's. Also - for standard input, or the path
    of a pipe or a sound file: WAV, or raw samples."""

    list_devices: Annotated[bool, Parameter(negative=())] = False
    "Show the microphones that there are, the default one with a star, and stop."

    raw_rate: Annotated[int, _AtLeastOne] = 16_000
    "Samples a second of headerless (s16le, mono) audio on standard input or in a pipe."

    model: str = DEFAULT
    "The bundle to run: a folder that `leanformer export` wrote, or `default`."

    chunk_ms: Annotated[int | None, _AtLeastOne] = None
    "Milliseconds of speech that the model sees at a time: more is more accurate, and later."

    precision: Precision | None = None
    "The weights to use. Default: int8 if the bundle has them."

    first_pass: Annotated[bool, Parameter(negative=())] = False
    "Leave the second pass out, if the model has one: final words come sooner, with more errors."


def mic(*, options: Options = Options(), decoding: Decoding = USUAL) -> int:
    """Write down what is spoken into a microphone, while it is spoken.

    Each utterance ends with a pause and becomes a line. On a terminal, the words being spoken are shown below, the
    dimmed ones may still change. Ctrl-C ends it; the last words are kept. A second one leaves out what a machine that
    lags behind has not come to.
    """
    from leanformer.audio.microphone import in_lines, list_devices

    if options.list_devices:
        devices = list_devices()
        if not devices:
            raise AudioError("no microphone found; plug one in, or pipe sound in: leanformer mic --device -")
        print(*in_lines(devices), sep="\n")
        return OK
    from leanformer.cli.captions import captions
    from leanformer.runtime.recognizer import Recognizer

    with opened(options.device, options.raw_rate) as source:
        recognizer = Recognizer.load(
            options.model,
            precision=options.precision,
            chunk_ms=options.chunk_ms,
            first_pass_only=options.first_pass,
            **decoding.settled(options.model).arguments(),
        )
        print(f"listening to {source.name}; Ctrl-C ends", file=sys.stderr, flush=True)
        with captions() as shown:
            error = listen(recognizer, source, shown)
    # After the captions are gone: both may be on the same terminal.
    return OK if error is None else report(error)


def listen(recognizer: Recognizer, source: Source | Microphone, shown: Captions) -> LeanformerError | None:
    """Show what is said until Ctrl-C or the source's end; returns the error that ended it, if one did.

    What was understood until then is kept and shown in any case.
    """
    import numpy as np

    from leanformer.cli.interrupt import Interrupt
    from leanformer.runtime.recognizer import DEFAULT_ENDPOINT

    stream = recognizer.stream(endpoint=DEFAULT_ENDPOINT)
    losses: Callable[[], str | None] = getattr(source, "take_losses", lambda: None)
    found: LeanformerError | None = None
    next_warning = 0.0
    with Interrupt() as interrupt:
        try:
            for block in _until_asked(source, interrupt):
                stream.accept_waveform(block, source.rate)
                shown.show(stream.take_events(), block)
                if stream.duration >= next_warning and (lost := losses()) is not None:
                    shown.warn(f"{lost}: this machine is too slow for the model, or busy")
                    next_warning = stream.duration + _WARN_EVERY_SECONDS
        except LeanformerError as error:
            found = error
        stream.finish()
        shown.show(stream.take_events(), np.zeros(0, np.float32))
    return found


def _until_asked(source: Source | Microphone, interrupt: Interrupt) -> Iterator[NDArray[Any]]:
    """The source's blocks until Ctrl-C, with those that a microphone has heard by then and the model has not.

    A machine that lags behind may need some time for these; a second Ctrl-C leaves them out.
    """
    yield from interrupt.until_asked(_readable(source))
    if interrupt.asked:
        rest: Callable[[], Iterator[NDArray[Any]]] = getattr(source, "rest", lambda: iter(()))
        yield from takewhile(lambda _: not interrupt.again, rest())


def _readable(source: Source | Microphone) -> Iterator[NDArray[Any]]:
    """The source's blocks; what the system says of it becomes an error of ours."""
    try:
        yield from source.blocks
    except OSError as error:
        raise in_words(error, source.name) from error


@contextmanager
def opened(device: str | None, raw_rate: int) -> Iterator[Source | Microphone]:
    """What `--device` names.

    Raises AudioError or MissingExtraError if it cannot be opened.
    """
    from leanformer.audio.files import open_file
    from leanformer.audio.live import open_live
    from leanformer.audio.microphone import open_microphone

    if device in (STDIN, "-"):
        if sys.stdin.isatty():
            raise AudioError("standard input is a terminal: pipe audio into it, or name a device")
        yield open_live(sys.stdin.buffer, "standard input", block_seconds=_BLOCK_SECONDS, raw_rate=raw_rate)
    elif device is not None and not device.isdecimal() and Path(device).exists():
        with open_file(Path(device), block_seconds=_BLOCK_SECONDS, raw_rate=raw_rate) as source:
            yield source
    else:
        with open_microphone(device) as microphone:
            yield microphone
