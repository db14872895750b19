"""What the runtime asks of a search, so that one can be put in another's place.

A search itself holds no state and may serve any number of streams; each stream keeps its own state value.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from leanformer.decoder.hypothesis import Hypothesis

State = TypeVar("State")

Reads = Literal["log_probs", "encoder_out"]
"""What a search goes through: (T, V) of a CTC output, or (T, D) of the encoder itself."""


class Search(Protocol[State]):
    """Frame-synchronous search over log-probabilities, or whatever it `reads`.

    A stream may last for days, so tokens that no later frame can change (`settled`) are taken out of the
    state by the caller (`drop`), and the state stays small.
    """

    @property
    def reads(self) -> Reads:
        """What the frames are."""
        ...

    def initial_state(self) -> State:
        """The state before the first frame."""
        ...

    def step(self, state: State, frames: NDArray[np.float32], /) -> State:
        """The state after frames (T, V or D); T may be 0. The given state is left as it was."""
        ...

    def hypothesis(self, state: State) -> Hypothesis:
        """The best hypothesis so far, without the tokens already dropped."""
        ...

    def settled(self, state: State) -> int:
        """How many leading tokens of `hypothesis` can no longer change."""
        ...

    def drop(self, state: State, count: int) -> State:
        """The state without its first `count` tokens, which must be settled; frames go on counting."""
        ...
