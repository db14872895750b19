"""CTC prefix beam search: the likeliest text, not the likeliest path, with hotwords and language models if given.

Graves, "Supervised sequence labelling with recurrent neural networks" (2012), section 7.5.2; Hannun et al.,
"First-pass large vocabulary continuous speech recognition using bi-directional recurrent DNNs" (2014). A hypothesis
is a token sequence. Its probability is the sum over all paths that spell it, kept apart by whether they end in a
blank, since only those may go on with the same token once more:

    blank'(s)  = (blank(s) + label(s)) p(blank)
    label'(s)  = label(s) p(last of s)
    label'(sc) += (blank(s) + label(s)) p(c)        only blank(s) where c is the last of s

After each frame the `beam` hypotheses of the highest score stay, a score being the probability and what the scorers
add. Beside the sum, each hypothesis has its single best path, from which its tokens have their times.

Frames whose blank is all but sure (`skip_blank`) are passed over: every hypothesis hears a blank, and none grows.
They are most of a pause, and what is left out is less likely than one in a thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from leanformer.decoder.beam import (
    BLANK,
    LABEL,
    Beam,
    extended,
    first_time,
    growth,
    merge,
    paused,
    settle,
    shared,
    stayed,
)
from leanformer.decoder.hypothesis import Hypothesis
from leanformer.decoder.scorer import Floats, Ints, Scorer, Scorers
from leanformer.decoder.search import Reads

# In which frames old tokens are looked at: any fixed ones do, for the text must not depend on the steps.
_SETTLE_EVERY = 8


@dataclass(frozen=True, slots=True, eq=False)
class CtcBeamState:
    """Frames read, the hypotheses, and what was heard since the first of their tokens.

    `heard` (N, V) holds the log-probabilities of the last N frames.
    """

    frames: int
    beam: Beam
    heard: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CtcBeamSearch:
    """The `beam` best hypotheses after each frame.

    A token is settled once all hypotheses have it, at the same time. As two that sound alike may stay side by
    side for as long as nobody speaks, a token also settles when it is `patience` frames old: hypotheses that
    differ from the best in it are then given up.
    """

    vocabulary_size: int
    beam: int = 8
    scorers: Sequence[Scorer] = ()
    blank_id: int = 0
    skip_blank: float = 0.999
    """Frames with at least this probability of a blank are passed over; above 1, none."""
    floor: float = -9.0
    """Tokens of a lower log-probability extend no hypothesis."""
    most_tokens: int = 48
    """At most so many tokens extend hypotheses in a frame, the likeliest."""
    patience: int = 50
    _all: Scorers = field(init=False)

    def __post_init__(self) -> None:
        if self.beam < 1:
            raise ValueError(f"beam = {self.beam}: it must be at least 1")
        object.__setattr__(self, "_all", Scorers(self.scorers))

    @property
    def reads(self) -> Reads:
        """Log-probabilities."""
        return "log_probs"

    def initial_state(self) -> CtcBeamState:
        """The state before the first frame."""
        memory = self._all.begin()
        beam = Beam.empty(self.blank_id, memory, self._all.rows(memory, self.vocabulary_size))
        return CtcBeamState(0, beam, np.zeros((0, self.vocabulary_size), np.float32))

    def step(self, state: CtcBeamState, log_probs: NDArray[np.float32]) -> CtcBeamState:
        """The state after the frames of `log_probs` (T, V); T may be 0. The given state is left as it was."""
        beam, frames = state.beam, log_probs.astype(np.float64)
        sure = np.exp(frames[:, self.blank_id]) >= self.skip_blank
        for time, (frame, pause) in enumerate(zip(frames, sure, strict=True), start=state.frames):
            beam = paused(beam, frame[self.blank_id]) if pause else self._hear(beam, frame, time)
            if time % _SETTLE_EVERY == 0 and beam.tokens.shape[1]:
                beam = settle(beam, self._best(beam), time - self.patience)
        read = state.frames + len(frames)
        return CtcBeamState(read, beam, _since(first_time(beam), read, state.heard, log_probs))

    def hypothesis(self, state: CtcBeamState) -> Hypothesis:
        """The best, without the tokens already dropped; `score` is the model's, without what the scorers add."""
        beam, best = state.beam, self._best(state.beam)
        end = BLANK if beam.best[BLANK, best] >= beam.best[LABEL, best] else LABEL
        length = beam.lengths[best]
        tokens, times = beam.tokens[best, :length], beam.times[end, best, :length]
        return Hypothesis(
            tokens=tuple(tokens.tolist()),
            times=tuple(times.tolist()),
            score=float(beam.total[best]),
            log_probs=tuple(state.heard[times - state.frames, tokens].tolist()),
        )

    def settled(self, state: CtcBeamState) -> int:
        """How many leading tokens, with their times, all hypotheses share."""
        return shared(state.beam)

    def drop(self, state: CtcBeamState, count: int) -> CtcBeamState:
        """The state without its first `count` tokens, which must be settled; frames go on counting."""
        beam = state.beam.without(count)
        return CtcBeamState(state.frames, beam, _since(first_time(beam), state.frames, state.heard))

    def _best(self, beam: Beam) -> int:
        """The place of the hypothesis that would win if the speech ended here."""
        return int((beam.total + beam.bonus - self._all.unearned(beam.memory)).argmax())

    def _hear(self, old: Beam, frame: Floats, time: int) -> Beam:
        tokens = self._likely(frame)
        mass, best = growth(old, tokens, frame)
        stay, mass = merge(old, stayed(old, frame, self.blank_id), tokens, mass, best, time)
        scores = mass + old.bonus[:, None]
        if old.rows.size:
            scores += old.rows[:, tokens]
        chosen = _highest(np.concatenate((stay.total + stay.bonus, scores.ravel())), self.beam)
        kept, new = chosen[chosen < len(old.last)], chosen[chosen >= len(old.last)] - len(old.last)
        stay = stay.rows_at(kept)
        if not len(new):
            return stay
        parents, columns = np.divmod(new, len(tokens))
        grown = extended(old, parents, tokens[columns], mass.ravel()[new], best.ravel()[new], time)
        grown = self._scored(grown)
        return stay.joined(grown) if len(kept) else grown

    def _scored(self, grown: Beam) -> Beam:
        """New hypotheses with what the scorers say of their last tokens."""
        if not self.scorers:
            return grown
        memory = self._all.advance(grown.memory, grown.last)
        added = np.take_along_axis(grown.rows, grown.last[:, None], axis=1)[:, 0]
        rows = self._all.rows(memory, self.vocabulary_size)
        return replace(grown, bonus=grown.bonus + added, memory=memory, rows=rows)

    def _likely(self, frame: Floats) -> Ints:
        """The tokens that may be added in a frame, in rising order."""
        likely = frame > self.floor
        likely[self.blank_id] = False
        (tokens,) = np.nonzero(likely)
        if len(tokens) > self.most_tokens:
            tokens = np.sort(tokens[_highest(frame[tokens], self.most_tokens)])
        return tokens


def _since(time: int | None, read: int, *heard: NDArray[np.float32]) -> NDArray[np.float32]:
    """The last frames, each (N, V), from frame `time` on, of the `read` ones; none without a time."""
    kept = 0 if time is None else read - time
    frames = np.concatenate(heard)
    return frames[len(frames) - kept :].copy()  # a view would keep what was left out


def _highest(scores: Floats, count: int) -> Ints:
    """Places of the `count` highest scores, or of fewer if some are minus infinity; in rising order."""
    if len(scores) > count:
        places = np.sort(np.argpartition(scores, len(scores) - count)[len(scores) - count :])
    else:
        places = np.arange(len(scores))
    return places[scores[places] > -np.inf]
