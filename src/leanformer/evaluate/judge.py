"""The words that were heard, each with the word of the transcript that it gets right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from leanformer.evaluate.wer import matching_words
from leanformer.text.normalization import normalize


class HeardWord(Protocol):
    """A word of a recogniser; `leanformer.runtime.transcript.Word` is one."""

    @property
    def word(self) -> str:
        """As it is written."""
        ...

    @property
    def start(self) -> float:
        """Seconds."""
        ...

    @property
    def end(self) -> float:
        """Seconds."""
        ...

    @property
    def confidence(self) -> float:
        """In [0, 1]."""
        ...


@dataclass(frozen=True, slots=True)
class Judged:
    """A heard word, and the place in the transcript of the word that it gets right; None if it is wrong."""

    heard: HeardWord
    place: int | None


def judge(said: str, heard: Sequence[HeardWord]) -> list[Judged]:
    """All heard words, in order; `said` is a normalised transcript. What normalises to several words is all of them."""
    words = [(one, text) for one in heard for text in normalize(one.word).split()]
    if not words:
        return []
    places = {there: place for place, there in matching_words(said, " ".join(text for _, text in words))}
    return [Judged(one, places.get(number)) for number, (one, _) in enumerate(words)]
