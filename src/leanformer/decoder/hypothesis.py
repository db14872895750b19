"""What a search believes was said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A token sequence, each token with the encoder frame that first emitted it.

    `times` count encoder frames since the beginning of the stream (not of the last step) and never fall; CTC's
    increase strictly, a transducer may say several tokens in a frame. `score` is the natural logarithm of the
    path's probability, over all frames since then.
    """

    tokens: tuple[int, ...]
    times: tuple[int, ...]
    score: float

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.times):
            raise ValueError(f"{len(self.tokens)} tokens but {len(self.times)} times: each token has one")
