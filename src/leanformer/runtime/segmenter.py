"""Tokens become words, and words become segments, while the stream runs.

A segment closes at a pause (no token for `pause` frames), or before the next word once it is `longest` frames
long. Both follow from the tokens' times alone, so segments do not depend on how the audio was cut up, and a
stream that never ends holds only its open segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Protocol

from leanformer.runtime.partial import Partial
from leanformer.runtime.transcript import Segment, Word

# About the pause between two sentences read aloud.
PAUSE_SECONDS = 1.0
# A reader's paragraph, and what may be lost from the screen at once when a live stream breaks off.
LONGEST_SECONDS = 20.0


class Pieces(Protocol):
    """What the segmenter needs of a tokenizer."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens."""
        ...

    def starts_word(self, token: int) -> bool:
        """Whether a token begins a new word."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """A token and the encoder frame that emitted it."""

    id: int
    frame: int


class Segmenter:
    """Takes a stream's tokens in order; gives each segment as soon as it is complete."""

    def __init__(self, pieces: Pieces, frame_seconds: float, longest: float = LONGEST_SECONDS) -> None:
        self._pieces = pieces
        self._frame_seconds = frame_seconds
        self._pause = round(PAUSE_SECONDS / frame_seconds)
        self._longest = round(longest / frame_seconds)
        self._open: list[Token] = []

    def push(self, token: Token) -> Segment | None:
        """Take the next token; returns the segment that ended before it, if one did."""
        closed = self.flush() if self._ends_before(token) else None
        self._open.append(token)
        return closed

    def idle(self, frame: int) -> Segment | None:
        """Say that no token was emitted before `frame`; returns the segment that this ends, if it does."""
        if self._open and frame - self._open[-1].frame >= self._pause:
            return self.flush()
        return None

    def flush(self, last_second: float = float("inf")) -> Segment | None:
        """End the open segment; None if it has no words. No word ends after `last_second`."""
        words = tuple(words_of(self._open, self._pieces, self._frame_seconds, last_second))
        self._open = []
        return Segment.of(words) if words else None

    def partial(self, unsettled: Sequence[Token] = ()) -> Partial:
        """The text of the open segment, with tokens at its end that may still be taken back.

        Its stable words are those with another after them: a token may yet make the last one longer.
        """
        whole = sum(map(len, _by_word(self._open, self._pieces)[:-1]))
        return Partial(self._spell(self._open[:whole]), self._spell([*self._open[whole:], *unsettled]))

    def _spell(self, tokens: Sequence[Token]) -> str:
        return " ".join(word.word for word in words_of(tokens, self._pieces, self._frame_seconds))

    def _ends_before(self, token: Token) -> bool:
        if not self._open:
            return False
        length = token.frame - self._open[0].frame
        return (
            token.frame - self._open[-1].frame >= self._pause
            or (length >= self._longest and self._pieces.starts_word(token.id))
            or length >= 2 * self._longest  # noise spelled without a word boundary
        )


def words_of(
    tokens: Sequence[Token], pieces: Pieces, frame_seconds: float, last_second: float = float("inf")
) -> list[Word]:
    """The words that `tokens` spell.

    A word starts with its first visible token's frame and ends one frame after its last one's, though not
    after `last_second`, nor after the next word's start. A token that is only a word boundary has no part in a word's
    times. Words of one frame, as a transducer may say them, share it.
    """
    words: list[Word] = []
    for group in _by_word(tokens, pieces):
        visible = [token for token in group if pieces.decode([token.id])]
        if visible:
            start = round(visible[0].frame * frame_seconds, 3)
            end = min(round((visible[-1].frame + 1) * frame_seconds, 3), last_second)
            words.append(Word(pieces.decode([token.id for token in group]), start, end))
    return _apart(words)


def _apart(words: list[Word]) -> list[Word]:
    """The words, none beginning before the one before it ends."""
    found: list[Word] = []
    for start, group in groupby(words, key=lambda word: word.start):
        same = list(group)
        step = (same[-1].end - start) / len(same)
        found += [
            Word(word.word, round(start + place * step, 3), round(start + (place + 1) * step, 3))
            for place, word in enumerate(same)
        ]
    pairs = pairwise(found)
    return [Word(word.word, word.start, min(word.end, after.start)) for word, after in pairs] + found[-1:]


def _by_word(tokens: Sequence[Token], pieces: Pieces) -> list[list[Token]]:
    groups: list[list[Token]] = []
    for token in tokens:
        if not groups or pieces.starts_word(token.id):
            groups.append([])
        groups[-1].append(token)
    return groups
