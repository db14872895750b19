"""What a person sees who speaks into a microphone: what was said, what is being said, and how loud it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from leanformer.audio.samples import as_float_mono
from leanformer.runtime.events import Event, Final, PartialText
from leanformer.runtime.partial import NOTHING, Partial

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

_QUIETEST_DB = -60.0
_CELLS = 20
_PARTIAL_LINES = 3


class Captions(Protocol):
    """Shows what comes of a stream."""

    def show(self, events: Sequence[Event], block: NDArray[Any]) -> None:
        """Show what happened, and how loud the last block of samples (n,) or (n, channels) was."""
        ...

    def warn(self, line: str) -> None:
        """Say something that is no caption."""
        ...


class Lines:
    """For pipes and files: a line for each final segment, and nothing that is taken back."""

    def show(self, events: Sequence[Event], block: NDArray[Any]) -> None:
        """Write the final segments."""
        for event in events:
            if isinstance(event, Final):
                sys.stdout.write(f"{event.text}\n")
                sys.stdout.flush()

    def warn(self, line: str) -> None:
        """Write to standard error."""
        print(f"leanformer: warning: {line}", file=sys.stderr, flush=True)


class Redrawn:
    """For terminals: final segments stay, and below them the open one and the level are redrawn in place."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._partial = NOTHING

    def show(self, events: Sequence[Event], block: NDArray[Any]) -> None:
        """Draw anew what may change, below what stays."""
        from rich.text import Text

        for event in events:
            if isinstance(event, Final):
                self._partial = NOTHING
                self._live.console.print(Text(event.text))
            elif isinstance(event, PartialText):
                self._partial = event.text
        console = self._live.console
        meter = level_meter(block, console.encoding.lower().startswith("utf"))
        text = Text(meter[: console.width], style="green")
        if self._partial:
            text = Text("\n").join([*_last_lines(self._partial, console), text])
        self._live.update(text, refresh=True)

    def warn(self, line: str) -> None:
        """Write above what is redrawn."""
        from rich.text import Text

        self._live.console.print(Text(line, style="yellow"))


def _last_lines(partial: Partial, console: Console) -> Sequence[Text]:
    """As much of the end as has room; what may still change is dimmed."""
    from rich.text import Text

    text = Text.assemble(partial.stable, " " if partial.stable else "", (partial.tail, "dim"))
    return text.wrap(console, console.width)[-_PARTIAL_LINES:]


def level_meter(block: NDArray[Any], unicode: bool = True) -> str:
    """A bar of the samples' mean power, in decibels of the loudest possible, from -60 to 0."""
    mono = as_float_mono(block, "the level")
    power = float(np.mean(np.square(mono), dtype=np.float64)) if len(mono) else 0.0
    decibels = max(_QUIETEST_DB, 10 * np.log10(power)) if power > 0 else _QUIETEST_DB
    full = round(_CELLS * (1 - min(0.0, decibels) / _QUIETEST_DB))
    on, off = ("█", "░") if unicode else ("#", "-")
    return f"{on * full}{off * (_CELLS - full)} {round(decibels):4d} dB"


@contextmanager
def captions() -> Iterator[Captions]:
    """The captions that suit standard output; what is redrawn is gone when the context ends."""
    if not sys.stdout.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.live import Live

    # Nothing is redirected: errors go to standard error after the context.
    with Live(
        console=Console(highlight=False),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as live:
        yield Redrawn(live)
