"""Where a transcription's output goes, piece by piece."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TextIO

from leanformer.cli.display import Display
from leanformer.cli.sources import Source
from leanformer.runtime.partial import Partial


class Output(Protocol):
    """Takes the pieces of one recording's output."""

    def heard(self, partial: Callable[[], Partial]) -> None:
        """Another block was heard; `partial` tells the text since the last complete segment."""
        ...

    def write(self, piece: str) -> None:
        """Take a piece of finished output."""
        ...


class Plain:
    """Pieces as they come; the display makes room for them, should both share a terminal."""

    def __init__(self, out: TextIO, display: Display) -> None:
        self._out, self._display = out, display

    def heard(self, partial: Callable[[], Partial]) -> None:
        """Write nothing before it is finished."""

    def write(self, piece: str) -> None:
        """Write and flush, so that a reader need not wait for the end."""
        with self._display.hidden():
            self._out.write(piece)
            self._out.flush()


class Growing:
    """The text of someone speaking: words as soon as they will stay, not only at the next pause."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._written = ""

    def heard(self, partial: Callable[[], Partial]) -> None:
        """Write the stable words of `partial` that are new."""
        stable = partial().stable
        self._put(stable[len(self._written) :])
        self._written = stable

    def write(self, piece: str) -> None:
        """Write a complete segment's line, less what stands there already."""
        self._put(piece[len(self._written) :])
        self._written = ""

    def _put(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._out.flush()


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A file that becomes `path` once it is complete; after an error, `path` is as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def output_names(sources: Sequence[Source], suffix: str) -> list[Path]:
    """A relative path for each source's output, no two alike even where capitals do not count.

    The first of these that keeps all of them apart: the path within the folder that was given, with the new
    suffix; the same with the suffix appended (a.wav.txt, a.flac.txt); the path from their common folder; that
    with a number.
    """
    paths = [Path("stdin") if source.is_stdin else Path(source.name) for source in sources]
    within = [
        path if source.is_stdin else path.relative_to(source.root)
        for path, source in zip(paths, sources, strict=True)
    ]
    in_common = _from_common_folder(sources)
    schemes = (
        [path.with_suffix(suffix) for path in within],
        [_appended(path, suffix) for path in within],
        [_appended(path, suffix) for path in in_common],
        [_appended(path, f".{number}{suffix}") for number, path in enumerate(in_common, start=1)],
    )
    return next(names for names in schemes if len({str(name).casefold() for name in names}) == len(names))


def _from_common_folder(sources: Sequence[Source]) -> list[Path]:
    places = [source.place for source in sources]
    common = os.path.commonpath([place.parent for place in places])
    return [place.relative_to(common) for place in places]


def _appended(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
