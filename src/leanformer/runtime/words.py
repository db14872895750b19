"""Tokens become words, with their times and confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from leanformer.runtime.confidence import IDENTITY, Calibration, evidence
from leanformer.runtime.transcript import Word
from leanformer.runtime.word_times import FRAMES, WordTimes


class Pieces(Protocol):
    """What is needed of a tokenizer."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens."""
        ...

    def starts_word(self, token: int) -> bool:
        """Whether a token begins a new word."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """A token, the encoder frame that emitted it, and the natural logarithm of its probability there."""

    id: int
    frame: int
    log_prob: float = 0.0


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word before its times are known: the frames of its first and last visible token, and its evidence.

    `letters` are those of the first visible token. A token that is only a word boundary is not visible.
    """

    text: str
    first: int
    last: int
    letters: int
    probability: float


@dataclass(frozen=True, slots=True)
class WordMaker:
    """Spells tokens. `times` and `confidence` are what was fitted for the model."""

    pieces: Pieces
    frame_seconds: float
    times: WordTimes = FRAMES
    confidence: Calibration = IDENTITY

    def groups(self, tokens: Sequence[Token]) -> list[list[Token]]:
        """The tokens, word by word."""
        groups: list[list[Token]] = []
        for token in tokens:
            if not groups or self.pieces.starts_word(token.id):
                groups.append([])
            groups[-1].append(token)
        return groups

    def spoken(self, tokens: Sequence[Token]) -> list[Spoken]:
        """The words that tokens spell; a group of tokens without a letter is none."""
        found = []
        for group in self.groups(tokens):
            visible = [token for token in group if self.pieces.decode([token.id])]
            if visible:
                found.append(
                    Spoken(
                        text=self.pieces.decode([token.id for token in group]),
                        first=visible[0].frame,
                        last=visible[-1].frame,
                        letters=len(self.pieces.decode([visible[0].id])),
                        probability=evidence(token.log_prob for token in visible),
                    )
                )
        return found

    def words(
        self,
        spoken: Sequence[Spoken],
        before: int | None = None,
        after: int | None = None,
        last_second: float = float("inf"),
    ) -> list[Word]:
        """The words with times and confidence. Words of one frame, as a transducer may say them, share it.

        Args:
            spoken: words that follow one another.
            before: the last frame of the word before them, if there is one.
            after: a frame before which no other word begins, if that is known.
            last_second: no word ends after it.
        """
        found: list[Word] = []
        units = [list(group) for _, group in groupby(spoken, key=lambda word: word.first)]
        follow = [unit[0].first for unit in units[1:]]
        for unit, next_first in zip(units, [*follow, after], strict=False):
            first, last = unit[0], unit[-1].last
            start = self.times.start(first.first, first.letters, before, self.frame_seconds)
            end = min(self.times.end(last, next_first, self.frame_seconds), last_second)
            step = (end - start) / len(unit)
            found += [
                Word(
                    word.text,
                    round(start + place * step, 3),
                    round(start + (place + 1) * step, 3),
                    round(self.confidence(word.probability), 3),
                )
                for place, word in enumerate(unit)
            ]
            before = last
        return found
