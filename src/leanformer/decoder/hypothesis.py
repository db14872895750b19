"""What a search believes was said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A token sequence, each token with the encoder frame that first emitted it.

    `times` count encoder frames since the beginning of the stream (not of the last step) and never fall; CTC's
    increase strictly, a transducer may say several tokens in a frame. `score` is the natural logarithm of the
    path's probability, over all frames since then.

    `log_probs` are natural logarithms of each token's probability in its frame, as the model alone gives it: nothing
    that hotwords or a language model add is in them. Confidence is made of these.
    """

    tokens: tuple[int, ...]
    times: tuple[int, ...]
    score: float
    log_probs: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("times", "log_probs"):
            if len(getattr(self, name)) != len(self.tokens):
                raise ValueError(
                    f"{len(self.tokens)} tokens but {len(getattr(self, name))} {name}: each token has one"
                )
