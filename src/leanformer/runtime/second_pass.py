"""One stream's second pass: the frames that wait for their future, until it is there."""

from __future__ import annotations

from copy import copy

import numpy as np

from leanformer.decoder.search import Reads
from leanformer.runtime.session import FloatArray, Session
from leanformer.runtime.steps import Step, Steps


class SecondPass:
    """Takes the first pass's encoder frames as they come, and gives what a search reads chunk by chunk, later.

    Chunks are counted from the stream's beginning, so what comes out does not depend on how the frames came. What
    is held has a fixed size: less than a chunk, and the lookahead.
    """

    def __init__(self, session: Session, reads: Reads = "log_probs") -> None:
        """`session` is that of the second pass; what it gives is what the search `reads`."""
        part = session.bundle.second
        self._reads = reads
        self._session = session
        self._size = part.chunk_frames
        self._frames = np.zeros((1, part.chunk_frames + part.lookahead_frames, session.width), np.float32)
        self._held = 0
        self._state = session.initial_state()

    def push(self, frames: FloatArray) -> Steps[list[FloatArray]]:
        """Take (T, D), where T may be 0; returns (chunk, V or D) for each chunk whose lookahead is now complete."""
        places, found = self._frames.shape[1], []
        while len(frames):
            taken = frames[: places - self._held]
            self._frames[0, self._held : self._held + len(taken)] = taken
            self._held += len(taken)
            frames = frames[len(taken) :]
            if self._held == places:
                found.append((yield from self._step()))
        return found

    def finish(self) -> Steps[list[FloatArray]]:
        """The rest, chunk by chunk, to which the future is silent; the stream is over."""
        found = []
        while self._held:
            found.append((yield from self._step()))
        return found

    def copy(self) -> SecondPass:
        """The same once more: what happens to one does not happen to the other."""
        other = copy(self)
        other._frames = self._frames.copy()
        return other

    def _step(self) -> Steps[FloatArray]:
        """Run the chunk that the frames begin with, and leave what comes after it; it need not be full."""
        self._frames[:, self._held :] = 0
        outcome = yield Step(self._session, self._frames, self._held, self._state, self._reads)
        self._state = outcome.state
        self._held = max(0, self._held - self._size)
        self._frames[:, : self._held] = self._frames[:, self._size : self._size + self._held].copy()
        return outcome.found
