"""What every layout yields: one utterance, before it becomes a lhotse cut."""

from dataclasses import dataclass
from pathlib import Path

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".opus", ".ogg", ".oga", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64"}
)


@dataclass(frozen=True)
class Utterance:
    """One recording, or a piece of one, with its transcript.

    Attributes:
        id: unique within its corpus.
        path: the sound file.
        text: the transcript as the corpus has it.
        speaker: "" where unknown.
        split: "" where the corpus has none.
        seconds: how long the utterance lasts; None where the layout does not say, so that the file is asked.
        start: seconds into the recording; None for the whole of it.
        channel: of the recording; None for the mean of all.
    """

    id: str
    path: Path
    text: str
    speaker: str = ""
    split: str = ""
    seconds: float | None = None
    start: float | None = None
    channel: int | None = None


def is_audio(path: Path) -> bool:
    """Tell by its suffix whether a file holds sound."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def audio_beside(stem: Path) -> Path | None:
    """Return the sound file whose path without suffix is `stem`, if there is one."""
    candidates = (stem.with_name(stem.name + suffix) for suffix in sorted(AUDIO_SUFFIXES))
    return next((path for path in candidates if path.is_file()), None)
