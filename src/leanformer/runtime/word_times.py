"""When a word was spoken, from the frames in which a model said its tokens.

A model says a token somewhere within it: some way after a word's beginning, the further the more letters its first
token has, and shortly before its end. Between two words of fluent speech there is no time, so there both are bounded by
one moment, a fixed `share` of the way from the last frame of one to the first of the other:

    start = max(meeting with the word before, first frame - lead_per_letter * letters of the first token)
    end   = min(meeting with the word after, end of the last frame + lag)

The three numbers are fitted to a forced alignment (`leanformer tune --words`), for each model: how late its tokens come
is learnt in training. The defaults are the frames themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class WordTimes:
    """The three numbers. Whatever they are, words have a length and do not overlap."""

    share: float = 1.0
    "of the way from one word's last frame to the next one's first, in [0.2, 1]"
    lead_ms_per_letter: float = 0.0
    lag_ms: float = 0.0

    def __post_init__(self) -> None:
        limits = (
            ("share", LEAST_SHARE, 1.0),
            ("lead_ms_per_letter", 0.0, 1000.0),
            ("lag_ms", 0.0, 1000.0),
        )
        for name, low, high in limits:
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} = {getattr(self, name)}: expected {low:g} to {high:g}")

    def start(self, first: int, letters: int, before: int | None, frame_seconds: float) -> float:
        """Seconds at which a word starts.

        Args:
            first: the frame of its first token.
            letters: of that token.
            before: the last frame of the word before, at most `first`; None if there is none.
            frame_seconds: how long a frame is.
        """
        start = first * frame_seconds - letters * self.lead_ms_per_letter / 1000
        return max(start, 0.0 if before is None else self._meeting(before, first) * frame_seconds)

    def end(self, last: int, after: int | None, frame_seconds: float) -> float:
        """Seconds at which a word ends.

        Args:
            last: the frame of its last token.
            after: the first frame of the word after, if it is known.
            frame_seconds: how long a frame is.
        """
        end = (last + 1) * frame_seconds + self.lag_ms / 1000
        return end if after is None else min(end, self._meeting(last, after) * frame_seconds)

    def _meeting(self, last: int, first: int) -> float:
        return last + self.share * (first - last)


FRAMES = WordTimes()
