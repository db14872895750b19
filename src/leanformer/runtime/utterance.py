"""One run of the model, from its initial state on: frames of features in, tokens out.

    frames -> whole chunks -> session step -> search -> tokens
                           -> second pass, later -> search -> tokens that stay

A stream without endpointing is one utterance; with it, each begins where the speaker does. Chunks are counted from
the utterance's beginning, so its tokens do not depend on how the frames came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np

from leanformer.decoder.search import Search
from leanformer.runtime.reader import Reader
from leanformer.runtime.second_pass import SecondPass
from leanformer.runtime.session import FloatArray, Session
from leanformer.runtime.steps import Step, Steps
from leanformer.runtime.words import Token


class Utterance:
    """Holds the state of the model and the search, less than a chunk of frames, and tokens that may still change."""

    def __init__(
        self,
        session: Session,
        search: Search[Any],
        chunk_frames: int,
        second: Session | None = None,
        start: int = 0,
    ) -> None:
        """Begin at the stream's frame of features `start`, a multiple of the subsampling factor."""
        manifest = session.bundle.manifest
        self._session = session
        self._second = None if second is None else SecondPass(second, search.reads)
        self._reads = search.reads
        self._chunk = np.zeros((1, chunk_frames, manifest.features.num_mel_bins), np.float32)
        self._stepped = start
        self._filled = 0
        self._state = session.initial_state()
        first = start // manifest.subsampling_factor
        self._early, self._final = Reader(search, first), Reader(search, first)

    @property
    def stepped(self) -> int:
        """The frame of features up to which the model has run."""
        return self._stepped

    @property
    def read(self) -> int:
        """The encoder frame up to which the final search has gone."""
        return self._final.frames

    @property
    def tokens(self) -> list[Token]:
        """The best tokens so far that were not given as final; of the first pass, where the second was not yet."""
        early = [token for token in self._early.tokens if token.frame >= self._final.frames]
        return [*self._final.tokens, *early]

    @property
    def open(self) -> bool:
        """Whether the final search holds a token that may still change."""
        return bool(self._final.tokens)

    def push(self, frames: FloatArray, tell: Callable[[list[Token]], None]) -> Steps[None]:
        """Take frames (n, F); after each step of the model, tell of the tokens that stay from then on."""
        size = self._chunk.shape[1]
        while len(frames):
            taken = frames[: size - self._filled]
            self._chunk[0, self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            frames = frames[len(taken) :]
            if self._filled == size:
                tell((yield from self._step()))

    def finish(self, end: int | None = None) -> Steps[list[Token]]:
        """All tokens that are left, of what was heard before the stream's frame `end`; the utterance is over."""
        if end is not None:
            self._filled = min(self._filled, max(0, end - self._stepped))
        found = (yield from self._step()) if self._filled else []
        if self._second is not None:
            found += self._settle((yield from self._second.finish()))
        return found + self._final.finish()

    def copy(self) -> Utterance:
        """The same utterance once more: what happens to one does not happen to the other."""
        other = copy(self)
        other._chunk = self._chunk.copy()
        other._early, other._final = copy(self._early), copy(self._final)
        other._second = None if self._second is None else self._second.copy()
        return other

    def _step(self) -> Steps[list[Token]]:
        """Run the model on the frames in the chunk, which is full but at the utterance's end."""
        self._chunk[:, self._filled :] = 0
        self._stepped += self._filled
        self._filled, valid = 0, self._filled
        outcome = yield Step(
            self._session, self._chunk, valid, self._state, self._reads, self._second is not None
        )
        self._state = outcome.state
        if self._second is None:
            return self._settle([outcome.found])
        self._early.read(outcome.found)
        assert outcome.encoded is not None
        return self._settle((yield from self._second.push(outcome.encoded)))

    def _settle(self, frames: Sequence[FloatArray]) -> list[Token]:
        """Read what the last pass gave, each (T, V or D); the words of the first at these frames are of no more use."""
        tokens: list[Token] = []
        for some in frames:
            self._final.read(some)
            tokens += self._final.take()
        self._early.take(before=self._final.frames)
        return tokens
