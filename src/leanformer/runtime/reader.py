"""Where a search stands in one stream, as tokens."""

from __future__ import annotations

from typing import Any

from leanformer.decoder.search import Search
from leanformer.runtime.session import FloatArray
from leanformer.runtime.words import Token


class Reader:
    """Frames in, tokens out. It holds the tokens that nobody has taken out yet."""

    def __init__(self, search: Search[Any], start: int = 0) -> None:
        """`start` is the stream's encoder frame at which the search begins."""
        self._search = search
        self._state = search.initial_state()
        self._start = start
        self.frames = start

    def read(self, frames: FloatArray) -> None:
        """Search on, through (T, V or D)."""
        self._state = self._search.step(self._state, frames)
        self.frames += len(frames)

    @property
    def tokens(self) -> list[Token]:
        """The best tokens so far, of those that it holds."""
        best = self._search.hypothesis(self._state)
        found = zip(best.tokens, best.times, best.log_probs, strict=True)
        return [Token(token, self._start + time, log_prob) for token, time, log_prob in found]

    def finish(self) -> list[Token]:
        """Take out all tokens: no frame follows that could change them."""
        rest, self._state = self.tokens, self._search.initial_state()
        return rest

    def take(self, before: float = float("inf")) -> list[Token]:
        """Take out the tokens that can no longer change, of those at frames less than `before`."""
        settled = self.tokens[: self._search.settled(self._state)]
        taken = [token for token in settled if token.frame < before]
        self._state = self._search.drop(self._state, len(taken))
        return taken
