"""Tokens become words, and words become segments, while the stream runs.

A segment closes at a pause (no token for `pause` frames), or before the next word once it is `longest` frames
long. Both follow from the tokens' times alone, so segments do not depend on how the audio was cut up, and a
stream that never ends holds only its open segment.
"""

from __future__ import annotations

from collections.abc import Sequence

from leanformer.runtime.confidence import IDENTITY, Calibration
from leanformer.runtime.partial import Partial
from leanformer.runtime.text_form import TextForm, formed
from leanformer.runtime.transcript import Segment
from leanformer.runtime.word_times import FRAMES, WordTimes
from leanformer.runtime.words import Pieces, Token, WordMaker

# About the pause between two sentences read aloud.
PAUSE_SECONDS = 1.0
# A reader's paragraph, and what may be lost from the screen at once when a live stream breaks off.
LONGEST_SECONDS = 20.0


class Segmenter:
    """Takes a stream's tokens in order; gives each segment as soon as it is complete."""

    def __init__(
        self,
        pieces: Pieces,
        frame_seconds: float,
        times: WordTimes = FRAMES,
        confidence: Calibration = IDENTITY,
        longest: float = LONGEST_SECONDS,
        form: TextForm | None = None,
    ) -> None:
        self._pieces = pieces
        self._maker = WordMaker(pieces, frame_seconds, times, confidence)
        self._pause = round(PAUSE_SECONDS / frame_seconds)
        self._longest = round(longest / frame_seconds)
        self._form = form
        self._open: list[Token] = []
        self._before: int | None = None
        "the last frame of the last word that was given"

    def push(self, token: Token) -> Segment | None:
        """Take the next token; returns the segment that ended before it, if one did."""
        closed = self._close(token.frame) if self._ends_before(token) else None
        self._open.append(token)
        return closed

    def idle(self, frame: int) -> Segment | None:
        """Say that no token was emitted before `frame`; returns the segment that this ends, if it does."""
        if self._open and frame - self._open[-1].frame >= self._pause:
            return self._close(frame)
        return None

    def flush(self, last_second: float = float("inf")) -> Segment | None:
        """End the open segment; None if it has no words. No word ends after `last_second`."""
        return self._close(None, last_second)

    def _close(self, after: int | None, last_second: float = float("inf")) -> Segment | None:
        """End the open segment; the next token's frame is not before `after`, if that is known."""
        if after is not None:  # no further: how long a pause lasts is not known when it closes a segment
            after = min(after, self._open[-1].frame + self._pause)
        spoken = self._maker.spoken(self._open)
        words = self._maker.words(spoken, self._before, after, last_second)
        self._open = []
        if not words:
            return None
        self._before = spoken[-1].last
        return Segment.of(tuple(words), self._form)

    def partial(self, unsettled: Sequence[Token] = ()) -> Partial:
        """The text of the open segment, with tokens at its end that may still be taken back.

        Its stable words are those with another after them: a token may yet make the last one longer. In another form
        none are: the next word may change them all ("twenty", "twenty one").
        """
        if self._form is not None:
            return Partial("", formed(self._form, self._spell([*self._open, *unsettled])))
        whole = sum(map(len, self._maker.groups(self._open)[:-1]))
        return Partial(self._spell(self._open[:whole]), self._spell([*self._open[whole:], *unsettled]))

    def _spell(self, tokens: Sequence[Token]) -> str:
        return " ".join(word.text for word in self._maker.spoken(tokens))

    def _ends_before(self, token: Token) -> bool:
        if not self._open:
            return False
        length, gap = token.frame - self._open[0].frame, token.frame - self._open[-1].frame
        if not gap:  # words of one frame share it
            return False
        return (
            gap >= self._pause
            or (length >= self._longest and self._pieces.starts_word(token.id))
            or length >= 2 * self._longest  # noise spelled without a word boundary
        )
