"""The LibriSpeech layout: `SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt` beside the audio of its lines.

A line is `SPEAKER-CHAPTER-NUMBER TRANSCRIPT`. A split folder is a corpus; the tree above it is a folder of
corpora.
"""

from collections.abc import Iterator
from pathlib import Path

from leanformer.data.layouts.utterance import Utterance, audio_beside

_TRANSCRIPTS = "*.trans.txt"


def detects(folder: Path) -> bool:
    """Tell whether `folder` is a split, or one speaker or chapter of it."""
    depths = ("", "*/", "*/*/")
    return any(next(folder.glob(depth + _TRANSCRIPTS), None) is not None for depth in depths)


def read(folder: Path) -> Iterator[Utterance]:
    """Yield the utterances of all chapters; one whose audio is not there names the .flac it should have."""
    for transcripts in sorted(folder.rglob(_TRANSCRIPTS)):
        for line in transcripts.read_text(encoding="utf-8").splitlines():
            name, _, text = line.strip().partition(" ")
            if name:
                stem = transcripts.parent / name
                audio = audio_beside(stem) or stem.with_name(name + ".flac")
                yield Utterance(name, audio, text, speaker=name.split("-")[0], split=folder.name)
