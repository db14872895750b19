"""Greedy CTC search: the best label of every frame, repeats merged, blanks removed.

Graves et al., "Connectionist temporal classification" (ICML 2006), section 3.2, best path decoding. With
p(l | t) the probability of label l at frame t:

    path[t] = argmax_l p(l | t)        text = path without repeats, then without blanks

A label that goes on from one step into the next is one token, so the last label is part of the state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leanformer.decoder.hypothesis import Hypothesis
from leanformer.decoder.search import Reads


@dataclass(frozen=True, slots=True)
class GreedyState:
    """Where the search stands: frames read, their last label, and the tokens not yet dropped."""

    frames: int
    last_label: int
    hypothesis: Hypothesis


@dataclass(frozen=True, slots=True)
class GreedySearch:
    """Best path decoding; every token is settled as soon as it is there."""

    blank_id: int = 0

    @property
    def reads(self) -> Reads:
        """Log-probabilities."""
        return "log_probs"

    def initial_state(self) -> GreedyState:
        """The state before the first frame."""
        return GreedyState(0, self.blank_id, Hypothesis((), (), 0.0, ()))

    def step(self, state: GreedyState, log_probs: NDArray[np.float32]) -> GreedyState:
        """The state after the frames of `log_probs` (T, V); T may be 0. The given state is left as it was."""
        if len(log_probs) == 0:
            return state
        labels = log_probs.argmax(axis=1)
        before = np.concatenate(([state.last_label], labels[:-1]))
        (new,) = np.nonzero((labels != self.blank_id) & (labels != before))
        best = state.hypothesis
        return GreedyState(
            frames=state.frames + len(labels),
            last_label=int(labels[-1]),
            hypothesis=Hypothesis(
                tokens=best.tokens + tuple(labels[new].tolist()),
                times=best.times + tuple((new + state.frames).tolist()),
                score=best.score + float(log_probs.max(axis=1).sum(dtype=np.float64)),
                log_probs=best.log_probs + tuple(log_probs[new, labels[new]].tolist()),
            ),
        )

    def hypothesis(self, state: GreedyState) -> Hypothesis:
        """The tokens that were not dropped yet."""
        return state.hypothesis

    def settled(self, state: GreedyState) -> int:
        """All of them: later frames only add tokens."""
        return len(state.hypothesis.tokens)

    def drop(self, state: GreedyState, count: int) -> GreedyState:
        """The state without its first `count` tokens; frames go on counting."""
        best = state.hypothesis
        rest = Hypothesis(best.tokens[count:], best.times[count:], best.score, best.log_probs[count:])
        return GreedyState(state.frames, state.last_label, rest)
