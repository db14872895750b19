"""Beam search over a transducer, with hotwords and language models if given.

Time-synchronous decoding (Saon et al. 2020, "Alignment-length synchronous decoding for RNN transducer", algorithm
1): in each frame the hypotheses say labels, all in one batch, until what could still enter the beam has ended the
frame with a blank. Scorers add to the labels' scores as in the CTC search (shallow fusion); a transducer has a language
model of its own, which a HAT model (Variani et al. 2020, eq. 11) can have taken off first:
`Transducer.internal_lm_weight`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from leanformer.decoder.hypothesis import Hypothesis
from leanformer.decoder.scorer import Floats, Scorer, Scorers
from leanformer.decoder.search import Reads
from leanformer.decoder.transducer import BLANK_ID, Array, Extension, Prefix, Transducer, TransducerState


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
    scorers: Sequence[Scorer] = ()
    vocabulary_size: int = 0
    """Needed with scorers: how many tokens they score."""
    _all: Scorers = field(init=False)

    def __post_init__(self) -> None:
        if self.scorers and self.vocabulary_size < 1:
            raise ValueError("scorers need vocabulary_size, the number of tokens that they score")
        object.__setattr__(self, "_all", Scorers(self.scorers))

    @property
    def reads(self) -> Reads:
        """What the encoder gives."""
        return "encoder_out"

    def initial_state(self) -> TransducerState:
        """The state before the first frame."""
        begun = self.model.begin()
        if self.scorers:
            memory = self._all.begin()
            begun = replace(begun, scorers=memory[0], rows=self._all.rows(memory, self.vocabulary_size)[0])
        return TransducerState(0, (begun,))

    def step(self, state: TransducerState, frames: Array) -> TransducerState:
        """The state after `frames` (T, D) of the encoder; T may be 0. The given state is left as it was."""
        prefixes = state.prefixes
        for index, frame in enumerate(frames, start=state.frames):
            prefixes = self._hear(prefixes, frame, index)
            prefixes = _settle(prefixes, self._best(prefixes), index - self.patience)
        return TransducerState(state.frames + len(frames), prefixes)

    def hypothesis(self, state: TransducerState) -> Hypothesis:
        """The best, without the tokens already dropped; `score` is the model's, without what the scorers add."""
        return self._best(state.prefixes).hypothesis()

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

    def _best(self, prefixes: Sequence[Prefix]) -> Prefix:
        """The one that would win if the speech ended here."""
        if not self.scorers:
            return prefixes[0]
        off = self._all.unearned(np.stack([prefix.scorers for prefix in prefixes]))
        ranks = np.array([prefix.rank for prefix in prefixes]) - off
        return prefixes[int(ranks.argmax())]

    def _hear(self, prefixes: Sequence[Prefix], frame: Array, index: int) -> tuple[Prefix, ...]:
        ended: dict[tuple[int, ...], Prefix] = {}
        for said in range(self.max_symbols + 1):
            scores, log_probs = self.model.scores(prefixes, frame)
            scores += np.array([[prefix.score] for prefix in prefixes])
            for prefix, score in zip(prefixes, scores[:, BLANK_ID].tolist(), strict=True):
                _add(ended, replace(prefix, score=score))
            if said < self.max_symbols:
                found = self._likeliest(prefixes, scores, log_probs, _worst(ended, self.beam))
                prefixes = self._scored(self.model.extend(found, index))
            if not prefixes:
                break
        return tuple(sorted(ended.values(), key=lambda prefix: -prefix.rank)[: self.beam])

    def _likeliest(
        self,
        prefixes: Sequence[Prefix],
        scores: NDArray[np.float64],
        log_probs: NDArray[np.float64],
        above: float,
    ) -> list[Extension]:
        """The labels of the highest ranks over all prefixes, at most `beam`, whose ranks are above a bound."""
        bonus = self._bonus(prefixes, scores.shape[1])
        ranks = (scores + bonus)[:, 1:].ravel()
        count = min(self.beam, ranks.size)
        highest = np.argpartition(-ranks, count - 1)[:count]
        rows, tokens = np.divmod(highest[ranks[highest] > above], scores.shape[1] - 1)
        return [
            Extension(
                prefixes[row],
                token,
                float(scores[row, token]),
                float(log_probs[row, token]),
                float(bonus[row, token]),
            )
            for row, token in zip(rows.tolist(), (tokens + 1).tolist(), strict=True)
        ]

    def _bonus(self, prefixes: Sequence[Prefix], size: int) -> Floats:
        """(N, V): what scorers would have added in all, with each token."""
        if not self.scorers:
            return np.zeros((len(prefixes), size))
        return np.stack([prefix.bonus + prefix.rows for prefix in prefixes])

    def _scored(self, grown: list[Prefix]) -> list[Prefix]:
        """New hypotheses with the scorers' states and rows after their last tokens."""
        if not self.scorers or not grown:
            return grown
        tokens = np.array([prefix.tokens[-1] for prefix in grown])
        memory = self._all.advance(np.stack([prefix.scorers for prefix in grown]), tokens)
        rows = self._all.rows(memory, self.vocabulary_size)
        return [replace(prefix, scorers=memory[i], rows=rows[i]) for i, prefix in enumerate(grown)]


def _add(ended: dict[tuple[int, ...], Prefix], new: Prefix) -> None:
    """Put a hypothesis with those that ended the frame, or add its probability to the one with the same tokens."""
    old = ended.get(new.tokens)
    if old is not None:
        likelier = max(old, new, key=lambda prefix: prefix.score)
        new = replace(likelier, score=float(np.logaddexp(old.score, new.score)))
    ended[new.tokens] = new


def _worst(ended: dict[tuple[int, ...], Prefix], beam: int) -> float:
    """The rank of the `beam`-th best: whoever is not above it would only fall further behind with a blank."""
    ranks = sorted((prefix.rank for prefix in ended.values()), reverse=True)
    return ranks[beam - 1] if len(ranks) >= beam else -np.inf


def _settle(prefixes: tuple[Prefix, ...], best: Prefix, frame: int) -> tuple[Prefix, ...]:
    """Those that agree with the best on its tokens up to a frame, and on their times."""
    count = sum(time <= frame for time in best.times)

    def agrees(prefix: Prefix) -> bool:
        return prefix.tokens[:count] == best.tokens[:count] and prefix.times[:count] == best.times[:count]

    return tuple(prefix for prefix in prefixes if agrees(prefix))
