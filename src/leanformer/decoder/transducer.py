"""Searches over a transducer: greedy, and a beam, both frame by frame and with several labels in a frame.

At each frame a hypothesis says labels until it says a blank, which leads it to the next frame (Graves 2012). What
it has said is heard by the predictor, so its state is part of the hypothesis. The beam is time-synchronous decoding
(Saon et al. 2020, "Alignment-length synchronous decoding for RNN transducer", algorithm 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from leanformer.decoder.hypothesis import Hypothesis
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
    """Something said, and what the predictor makes of it: `output` (P,) and its state's arrays without batch axis."""

    tokens: tuple[int, ...]
    times: tuple[int, ...]
    log_probs: tuple[float, ...]
    score: float
    output: Array
    memory: Memory

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
    """A prefix with a token to be said after it: the score of both, and the token's log-probability."""

    prefix: Prefix
    token: int
    score: float
    log_prob: float


@dataclass(frozen=True, slots=True, eq=False)
class TransducerState:
    """Frames read, and the hypotheses: all differ in their tokens, the best comes first."""

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


@dataclass(frozen=True, slots=True)
class TransducerBeamSearch:
    """The `beam` likeliest hypotheses after each frame; the ways to the same tokens are added up.

    A token is settled once all hypotheses have it. Two that sound alike may stay side by side for as long as nobody
    speaks, so a token also settles when it is `patience` frames old: hypotheses that differ from the best in it are
    given up then. What came of merging has the times of the likelier way.
    """

    model: Transducer
    beam: int = 4
    max_symbols: int = 4
    patience: int = 32

    @property
    def reads(self) -> Reads:
        """What the encoder gives."""
        return "encoder_out"

    def initial_state(self) -> TransducerState:
        """The state before the first frame."""
        return TransducerState(0, (self.model.begin(),))

    def step(self, state: TransducerState, frames: Array) -> TransducerState:
        """The state after `frames` (T, D) of the encoder; T may be 0. The given state is left as it was."""
        prefixes = state.prefixes
        for index, frame in enumerate(frames, start=state.frames):
            prefixes = _settle(self._hear(prefixes, frame, index), index - self.patience)
        return TransducerState(state.frames + len(frames), prefixes)

    def hypothesis(self, state: TransducerState) -> Hypothesis:
        """The likeliest, without the tokens already dropped."""
        return state.prefixes[0].hypothesis()

    def settled(self, state: TransducerState) -> int:
        """How many leading tokens, with their times, all hypotheses share."""
        shared = 0
        columns = zip(*(zip(p.tokens, p.times, strict=True) for p in state.prefixes), strict=False)
        for column in columns:
            if len(set(column)) > 1:
                break
            shared += 1
        return shared

    def drop(self, state: TransducerState, count: int) -> TransducerState:
        """The state without its first `count` tokens, which must be settled; frames go on counting."""
        return TransducerState(state.frames, tuple(prefix.without(count) for prefix in state.prefixes))

    def _hear(self, prefixes: Sequence[Prefix], frame: Array, index: int) -> tuple[Prefix, ...]:
        ended: dict[tuple[int, ...], Prefix] = {}
        for said in range(self.max_symbols + 1):
            scores, log_probs = self.model.scores(prefixes, frame)
            scores += np.array([[prefix.score] for prefix in prefixes])
            for prefix, score in zip(prefixes, scores[:, BLANK_ID].tolist(), strict=True):
                _add(ended, replace(prefix, score=score))
            if said < self.max_symbols:
                found = self._best(prefixes, scores, log_probs, _worst(ended, self.beam))
                prefixes = self.model.extend(found, index)
            if not prefixes:
                break
        return tuple(sorted(ended.values(), key=lambda prefix: -prefix.score)[: self.beam])

    def _best(
        self,
        prefixes: Sequence[Prefix],
        scores: NDArray[np.float64],
        log_probs: NDArray[np.float64],
        above: float,
    ) -> list[Extension]:
        """The likeliest labels over all prefixes, at most `beam`, whose scores are above a bound."""
        labels = scores[:, 1:].ravel()
        count = min(self.beam, labels.size)
        likeliest = np.argpartition(-labels, count - 1)[:count]
        rows, tokens = np.divmod(likeliest, scores.shape[1] - 1)
        found = zip(rows.tolist(), (tokens + 1).tolist(), labels[likeliest].tolist(), strict=True)
        return [
            Extension(prefixes[row], token, score, float(log_probs[row, token]))
            for row, token, score in found
            if score > above
        ]


def _add(ended: dict[tuple[int, ...], Prefix], new: Prefix) -> None:
    """Put a hypothesis with those that ended the frame, or add its probability to the one with the same tokens."""
    old = ended.get(new.tokens)
    if old is not None:
        likelier = max(old, new, key=lambda prefix: prefix.score)
        new = replace(likelier, score=float(np.logaddexp(old.score, new.score)))
    ended[new.tokens] = new


def _worst(ended: dict[tuple[int, ...], Prefix], beam: int) -> float:
    """The score of the `beam`-th best: whoever is not above it would only fall further behind with a blank."""
    scores = sorted((prefix.score for prefix in ended.values()), reverse=True)
    return scores[beam - 1] if len(scores) >= beam else -np.inf


def _settle(prefixes: tuple[Prefix, ...], frame: int) -> tuple[Prefix, ...]:
    """Those that agree with the best on its tokens up to a frame, and on their times."""
    best = prefixes[0]
    count = sum(time <= frame for time in best.times)

    def agrees(prefix: Prefix) -> bool:
        return prefix.tokens[:count] == best.tokens[:count] and prefix.times[:count] == best.times[:count]

    return tuple(prefix for prefix in prefixes if agrees(prefix))
