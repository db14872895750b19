"""What a person sees while a transcription runs: a progress bar, or the words as they are understood."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from leanformer.cli.sources import Source

if TYPE_CHECKING:
    from rich.progress import Progress

    from leanformer.runtime.partial import Partial
    from leanformer.runtime.stream import Stream

_DIM, _NORMAL = "\x1b[2m", "\x1b[22m"


class Display(Protocol):
    """Something on standard error that is redrawn after every block of audio."""

    def heard(self, source: Source, stream: Stream) -> None:
        """Another block of `source` went into `stream`."""
        ...

    def hidden(self) -> AbstractContextManager[object]:
        """Out of the way while lines are written to the same terminal."""
        ...


class Nothing:
    """No display: for pipes and logs."""

    def heard(self, source: Source, stream: Stream) -> None:
        """Show nothing."""

    def hidden(self) -> AbstractContextManager[object]:
        """Nothing to hide."""
        return nullcontext()


class LiveLine:
    """The open segment's text: redrawn in place on a terminal, else a new line whenever it changed."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._shown = ""

    def heard(self, source: Source, stream: Stream) -> None:
        """Show the stream's text since its last complete segment."""
        text = stream.partial
        if text == self._shown:
            return
        if self._on_terminal:
            _draw(f"\r\x1b[2K{fitted(text, shutil.get_terminal_size().columns - 1)}")
        elif text:
            _draw(f"... {text}\n")
        self._shown = text

    def hidden(self) -> AbstractContextManager[object]:
        """Wipe the line; the next block draws it again."""
        self.wipe()
        return nullcontext()

    def wipe(self) -> None:
        """Leave the terminal's line empty."""
        if self._on_terminal and self._shown:
            _draw("\r\x1b[2K")
            self._shown = ""


class Bar:
    """A progress bar in seconds of audio, over all sources; their lengths come from their headers."""

    def __init__(self, progress: Progress, sources: Sequence[Source]) -> None:
        self._progress = progress
        self._heard = dict.fromkeys(sources, 0.0)
        self._task = progress.add_task("transcribing", total=sum(map(_length, sources)) or None)

    def heard(self, source: Source, stream: Stream) -> None:
        """Move on to where the stream stands."""
        self._progress.advance(self._task, stream.duration - self._heard[source])
        self._heard[source] = stream.duration

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Wipe the bar, and draw it again afterwards."""
        self._progress.stop()
        yield
        self._progress.start()


@contextmanager
def display_for(sources: Sequence[Source], live: bool) -> Iterator[Display]:
    """The display that suits the sources and the terminal; gone when the context ends."""
    on_terminal = sys.stderr.isatty()
    speaking = any(source.is_live for source in sources)
    if live or (speaking and on_terminal and len(sources) == 1):
        line = LiveLine()
        try:
            yield line
        finally:
            line.wipe()
        return
    if not on_terminal or speaking:
        yield Nothing()
        return
    with _progress() as progress:
        yield Bar(progress, sources)


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    # Redirection would send what is written to a piped standard output to the terminal.
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)


def _length(source: Source) -> float:
    import soundfile

    if not Path(source.name).is_file():
        return 0.0  # looking into a pipe would take away what it holds
    try:
        return float(soundfile.info(source.name).duration)
    except (OSError, RuntimeError, TypeError):  # TypeError: the name ends in .raw
        return 0.0  # it is reported when its turn comes


def fitted(text: Partial, width: int) -> str:
    """As much of the end of `text` as is `width` characters wide; what may still change is dimmed."""
    start = max(0, len(text) - width)
    stays = len(text) - len(text.tail)
    tail = text[max(start, stays) :]
    return text[start:stays] + (f"{_DIM}{tail}{_NORMAL}" if tail else "")


def _draw(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
