"""What a recogniser returns: words with their times and confidence, in segments."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from leanformer.runtime.text_form import TextForm, formed


@dataclass(frozen=True, slots=True)
class Word:
    """One word; `start` and `end` in seconds from the beginning of the audio, start < end.

    `confidence` in [0, 1] is how likely the word is right by the sound alone (`runtime/confidence.py`).
    """

    word: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Segment:
    """Words between two pauses; times as of the outer words.

    `text` is the words with single spaces between them, or another form of this (`runtime/text_form.py`).
    """

    text: str
    start: float
    end: float
    words: tuple[Word, ...]

    @classmethod
    def of(cls, words: tuple[Word, ...], form: TextForm | None = None) -> Segment:
        """The segment of these words, of which there is at least one; raises ConfigError if the `form` fails."""
        text = formed(form, " ".join(word.word for word in words))
        return cls(text, words[0].start, words[-1].end, words)


@dataclass(frozen=True, slots=True)
class Transcript:
    """All that was understood; no segments when nobody spoke. `duration` is the audio's, in seconds."""

    segments: tuple[Segment, ...]
    duration: float

    @property
    def text(self) -> str:
        """The whole text on one line."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def words(self) -> tuple[Word, ...]:
        """All words in order; they never overlap."""
        return tuple(word for segment in self.segments for word in segment.words)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: text, duration, words, and segments with their own words."""
        return {
            "text": self.text,
            "duration": self.duration,
            "words": [asdict(word) for word in self.words],
            "segments": [asdict(segment) for segment in self.segments],
        }
