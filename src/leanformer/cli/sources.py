"""What to transcribe: the recordings that the arguments name."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leanformer.cli.outcome import STDIN
from leanformer.errors import AudioError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STDIN_NAME = "-"
# What libsndfile reads and people keep speech in; only used to pick files out of a folder.
_AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"}
    | {".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist"}
)


@dataclass(frozen=True, slots=True)
class Source:
    """One recording: a file, or standard input. `root` is the folder that its output name is relative to."""

    name: str
    root: Path

    @property
    def is_stdin(self) -> bool:
        """Whether it is standard input."""
        return self.name == _STDIN_NAME

    @property
    def is_live(self) -> bool:
        """Whether it may be spoken this very moment: standard input or another pipe."""
        return self.is_stdin or Path(self.name).is_fifo()

    @property
    def place(self) -> Path:
        """The absolute path, without `..`; a link stays what it is."""
        return Path(os.path.abspath(self.name))  # noqa: PTH100

    def blocks(self, sample_rate: int, raw_rate: int) -> Iterator[NDArray[np.float32]]:
        """The recording's samples at `sample_rate`, mono; see `read_blocks` for the errors."""
        from leanformer.audio.blocks import read_blocks

        if not self.is_stdin:
            return read_blocks(self.name, sample_rate=sample_rate)
        if sys.stdin.isatty():
            raise AudioError("standard input is a terminal: pipe audio into it, or name a file")
        return read_blocks(_STDIN_NAME, sample_rate=sample_rate, raw_rate=raw_rate)


def sources_of(argument: str) -> list[Source]:
    """The recordings that one argument names: itself, a folder's audio files, or a pattern's matches.

    Raises AudioError when a folder holds no audio or a pattern matches nothing.
    """
    path = Path(argument)
    if argument == STDIN:
        return [Source(_STDIN_NAME, Path())]
    if path.is_dir():
        matches = sorted(_audio_within(path))
        if not matches:
            raise AudioError(
                f"{argument}: no audio in this folder (looked for {', '.join(sorted(_AUDIO_SUFFIXES))})"
            )
        return [Source(str(match), path) for match in matches]
    if not path.exists() and glob.has_magic(argument):
        # Path.glob would need the pattern's fixed beginning as a path of its own.
        found = map(Path, glob.glob(argument, recursive=True))  # noqa: PTH207
        matches = sorted(path for path in found if path.is_file())
        if not matches:
            raise AudioError(f"{argument}: no file matches this pattern")
        return [Source(str(match), match.parent) for match in matches]
    return [Source(argument, path.parent)]


def without_repeats(sources: Sequence[Source]) -> list[Source]:
    """The same recordings in the same order, each once, however its path is written."""
    firsts: dict[str, Source] = {}
    for source in sources:
        firsts.setdefault(source.name if source.is_stdin else str(source.place), source)
    return list(firsts.values())


def _audio_within(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in _AUDIO_SUFFIXES and not hidden and path.is_file():
            yield path
