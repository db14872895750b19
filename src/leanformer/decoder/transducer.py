"""A transducer as searches use it, its hypotheses, and the greedy search.

At each frame a hypothesis says labels until it says a blank, which leads it to the next frame (Graves 2012). What
it has said is heard by the predictor, so its state is part of the hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from leanformer.decoder.hypothesis import Hypothesis
from leanformer.decoder.scorer import Floats, Ints
from leanformer.decoder.search import Reads

Array = NDArray[np.float32]
Memory = tuple[NDArray[np.generic], ...]
"""A predictor's state: arrays whose first axis counts hypotheses."""

BLANK_ID = 0
"""Also what a predictor hears first."""


class Predictor(Protocol):
    """What was said so far, as a vector."""

    def initial_state(self) -> Memory:
        """The state before BLANK_ID, of one hypothesis: arrays (1, ...)."""
        ...

    def step(self, tokens: NDArray[np.int64], state: Memory) -> tuple[Array, Memory]:
        """Tokens (N,) said by N hypotheses, and their states, to outputs (N, P) and the states after."""
        ...


class Joiner(Protocol):
    """The scores of what may be said next."""

    def log_probs(self, encoder: Array, predictor: Array) -> Array:
        """Frames (N, D) and predictor outputs (N, P) to log-probabilities (N, V), the blank's at 0."""
        ...

    def label_log_probs(self, predictor: Array) -> Array:
        """The internal language model: (N, P) to log-probabilities of the labels from 1 on, (N, V - 1)."""
        ...


@dataclass(frozen=True, slots=True)
class Transducer:
    """Predictor and joiner, as the searches use them."""

    predictor: Predictor
    joiner: Joiner
    internal_lm_weight: float = 0.0
    """How much of the internal language model is taken off the labels' scores (Variani et al. 2020, eq. 11)."""

    def begin(self) -> Prefix:
        """Nothing said, with a score of 0."""
        outputs, memory = self.predictor.step(np.array([BLANK_ID]), self.predictor.initial_state())
        return Prefix((), (), (), 0.0, outputs[0], tuple(array[0] for array in memory))

    def extend(self, extensions: Sequence[Extension], frame: int) -> list[Prefix]:
        """Each prefix with a token said in `frame`, all in one step of the predictor."""
        if not extensions:
            return []
        tokens = np.array([one.token for one in extensions])
        memories = zip(*(one.prefix.memory for one in extensions), strict=True)
        outputs, after = self.predictor.step(tokens, tuple(np.stack(arrays) for arrays in memories))
        return [
            Prefix(
                (*one.prefix.tokens, one.token),
                (*one.prefix.times, frame),
                (*one.prefix.log_probs, one.log_prob),
                one.score,
                outputs[i],
                tuple(array[i] for array in after),
                one.bonus,
                one.prefix.scorers,
            )
            for i, one in enumerate(extensions)
        ]

    def scores(
        self, prefixes: Sequence[Prefix], frame: Array
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N, V) twice: scores of what each prefix may say next in a frame (D,), and its log-probabilities."""
        outputs = np.stack([prefix.output for prefix in prefixes])
        frames = np.repeat(frame[None], len(prefixes), axis=0)
        log_probs = self.joiner.log_probs(frames, outputs).astype(np.float64)
        scores = log_probs.copy()
        if self.internal_lm_weight:
            scores[:, 1:] -= self.internal_lm_weight * self.joiner.label_log_probs(outputs)
        return scores, log_probs


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """Something said, and what the predictor makes of it: `output` (P,) and its state's arrays without batch axis.

    `bonus` is what hotwords and language models added to the score, `scorers` (S,) their states, and `rows` (V,) what
    they will add for each next token; of size 0 without any.
    """

    tokens: tuple[int, ...]
    times: tuple[int, ...]
    log_probs: tuple[float, ...]
    score: float
    output: Array
    memory: Memory
    bonus: float = 0.0
    scorers: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    rows: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def rank(self) -> float:
        """What hypotheses are compared by."""
        return self.score + self.bonus

    def hypothesis(self) -> Hypothesis:
        """What is to be shown of it."""
        return Hypothesis(self.tokens, self.times, self.score, self.log_probs)

    def without(self, count: int) -> Prefix:
        """The same without its first `count` tokens."""
        return replace(
            self, tokens=self.tokens[count:], times=self.times[count:], log_probs=self.log_probs[count:]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Extension:
    """A prefix with a token to be said after it: the score of both, the token's log-probability, and their bonus."""

    prefix: Prefix
    token: int
    score: float
    log_prob: float
    bonus: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class TransducerState:
    """Frames read, and the hypotheses: all differ in their tokens, the one of the highest rank comes first."""

    frames: int
    prefixes: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class TransducerGreedySearch:
    """The best label of every frame, again and again until it is the blank; every token is settled at once.

    After `max_symbols` labels a frame ends with a blank, likely or not.
    """

    model: Transducer
    max_symbols: int = 4

    @property
    def reads(self) -> Reads:
        """What the encoder gives."""
        return "encoder_out"

    def initial_state(self) -> TransducerState:
        """The state before the first frame."""
        return TransducerState(0, (self.model.begin(),))

    def step(self, state: TransducerState, frames: Array) -> TransducerState:
        """The state after `frames` (T, D) of the encoder; T may be 0. The given state is left as it was."""
        (best,) = state.prefixes
        for index, frame in enumerate(frames, start=state.frames):
            best = self._hear(best, frame, index)
        return TransducerState(state.frames + len(frames), (best,))

    def hypothesis(self, state: TransducerState) -> Hypothesis:
        """The tokens that were not dropped yet."""
        return state.prefixes[0].hypothesis()

    def settled(self, state: TransducerState) -> int:
        """All of them: later frames only add tokens."""
        return len(state.prefixes[0].tokens)

    def drop(self, state: TransducerState, count: int) -> TransducerState:
        """The state without its first `count` tokens; frames go on counting."""
        return TransducerState(state.frames, (state.prefixes[0].without(count),))

    def _hear(self, best: Prefix, frame: Array, index: int) -> Prefix:
        for said in range(self.max_symbols + 1):
            (scores,), (log_probs,) = self.model.scores([best], frame)
            token = int(scores.argmax()) if said < self.max_symbols else BLANK_ID
            score = best.score + float(scores[token])
            if token == BLANK_ID:
                break
            (best,) = self.model.extend([Extension(best, token, score, float(log_probs[token]))], index)
        return replace(best, score=score)
