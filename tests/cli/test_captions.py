"""What is drawn on terminals of all widths."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console
from rich.live import Live

from leanformer.cli.captions import Redrawn, level_meter
from leanformer.runtime.events import Final, PartialText
from leanformer.runtime.partial import Partial
from leanformer.runtime.transcript import Segment, Word

SILENCE = np.zeros(100, np.float32)


def drawn(width: int, partial: Partial) -> tuple[list[str], str]:
    """The lines that may be taken back, and all that was written."""
    console = Console(
        file=io.StringIO(), width=width, height=24, force_terminal=True, highlight=False, color_system=None
    )
    with Live(console=console, auto_refresh=False, transient=True) as live:
        shown = Redrawn(live)
        shown.show([PartialText(partial, 1.0)], SILENCE)
        lines = console.render_lines(live.renderable, pad=False)
    texts = ["".join(part.text for part in line) for line in lines]
    return texts, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [8, 20, 43, 200])
def test_a_long_caption_keeps_to_its_lines_and_shows_its_end(width: int) -> None:
    words = "the quick brown fox jumps over the lazy dog " * 9
    lines, _ = drawn(width, Partial(words.strip(), "and goes home"))
    assert len(lines) <= 4
    assert all(len(line) <= width for line in lines)
    assert " ".join(" ".join(lines[:-1]).split()).endswith("goes home")
    assert lines[-1].startswith(("░", "-"))


def test_a_word_longer_than_the_terminal_is_broken() -> None:
    lines, _ = drawn(10, Partial("", "x" * 55))
    assert [len(line) for line in lines] == [10, 10, 5, 10]


def test_what_is_complete_stays_above() -> None:
    console = Console(file=io.StringIO(), width=30, force_terminal=True, highlight=False, color_system=None)
    segment = Segment("the cat sat", 0.0, 1.0, (Word("the", 0.0, 1.0, 1.0),))
    with Live(console=console, auto_refresh=False, transient=True) as live:
        shown = Redrawn(live)
        shown.show([PartialText(Partial("the", "cat"), 0.5)], SILENCE)
        shown.show([Final(segment)], SILENCE)
        shown.warn("too slow")
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "the cat sat\n" in written
    assert "too slow\n" in written
    assert written.rstrip().endswith("\x1b[2K")  # nothing that was redrawn is left


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.zeros(100, np.int16), "-------------------- " + " -60 dB"),
        (np.full(100, 32_767, np.int16), "#" * 20 + "    0 dB"),
        (np.full((100, 2), 0.0316, np.float32), "#" * 10 + "-" * 10 + "  -30 dB"),
        (np.zeros(0, np.float32), "-" * 20 + "  -60 dB"),
    ],
)
def test_the_level(samples: np.ndarray, says: str) -> None:
    assert level_meter(samples, unicode=False) == says
    assert level_meter(samples).endswith(says[-3:])
