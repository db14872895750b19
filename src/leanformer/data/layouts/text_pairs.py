"""A folder of recordings, each with its transcript in a text file of the same name: `a.wav`, `a.txt`.

Sub-folders are read too. If the folder or its first sub-folder is called train, dev, test or the like, that
is the split; the folder a recording lies in, if below that, names the speaker.
"""

from collections.abc import Iterator
from pathlib import Path

from leanformer.data.layouts.utterance import Utterance, is_audio

_SPLITS = ("train", "dev", "test", "valid", "eval")


def detects(folder: Path) -> bool:
    """Tell whether any recording in the tree has a transcript beside it."""
    return any(path.with_suffix(".txt").is_file() for path in _recordings(folder))


def has_audio(folder: Path) -> bool:
    """Tell whether there is any recording in the tree: enough where nobody asks for transcripts."""
    return any(True for _ in _recordings(folder))


def read(folder: Path) -> Iterator[Utterance]:
    """Yield all recordings; one without a text file has an empty transcript, so it is skipped and counted."""
    for path in sorted(_recordings(folder)):
        transcript = path.with_suffix(".txt")
        text = transcript.read_text(encoding="utf-8-sig", errors="replace") if transcript.is_file() else ""
        inside = path.relative_to(folder)
        parents = [folder.name, *inside.parts[:-1]]
        split = next((part for part in parents[:2] if part.lower().startswith(_SPLITS)), "")
        speaker = parents[-1] if len(parents) > 1 and parents[-1] != split else ""
        yield Utterance(str(inside.with_suffix("")), path, " ".join(text.split()), speaker, split)


def _recordings(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if is_audio(path) and path.is_file())
