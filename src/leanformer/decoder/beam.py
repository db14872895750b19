"""The hypotheses of a CTC prefix beam search, as arrays, and what one frame does to them.

Every function gives new arrays and leaves its arguments as they were. Axes: H hypotheses, E = 2 ways in which a path
ends (in a blank, or in the hypothesis's last label), L tokens, K tokens that a frame may add.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

BLANK, LABEL = 0, 1
"""Places on the axis E."""

_NO_PARENT = np.uint64(0x9E3779B97F4A7C15)
_FIRST_KEY = np.uint64(1)
_FACTOR = np.uint64(6364136223846793005)  # Knuth's multiplier (MMIX): it mixes all 64 bits


@dataclass(frozen=True, slots=True, eq=False)
class Beam:
    """Different hypotheses, in no order. What stands behind a row's length in `tokens` and `times` is 0."""

    tokens: Ints
    "(H, L), without those that were dropped"
    times: Ints
    "(E, H, L): the frame of each token's first label, on the best path of either ending"
    lengths: Ints
    "(H,)"
    last: Ints
    "(H,): the last token, even if it was dropped; the blank before the first"
    key: Keys
    "(H,): a hash of all tokens, the dropped ones too: equal for equal hypotheses"
    parent_key: Keys
    "(H,): that of the same hypothesis without its last token"
    mass: Floats
    "(E, H): log-probability of all paths"
    best: Floats
    "(E, H): log-probability of the best path"
    bonus: Floats
    "(H,): what the scorers added"
    memory: Ints
    "(H, S): the scorers' states"
    rows: Floats
    "(H, V): what the scorers will add for each next token; (H, 0) without scorers"

    @classmethod
    def empty(cls, blank_id: int, memory: Ints, rows: Floats) -> Beam:
        """The one hypothesis before the first frame."""
        return cls(
            tokens=np.zeros((1, 0), np.int64),
            times=np.zeros((2, 1, 0), np.int64),
            lengths=np.zeros(1, np.int64),
            last=np.full(1, blank_id, np.int64),
            key=np.array([_FIRST_KEY]),
            parent_key=np.array([_NO_PARENT]),
            mass=np.array([[0.0], [-np.inf]]),
            best=np.array([[0.0], [-np.inf]]),
            bonus=np.zeros(1),
            memory=memory,
            rows=rows,
        )

    @property
    def total(self) -> Floats:
        """(H,): log-probability of each hypothesis."""
        return np.asarray(np.logaddexp(self.mass[BLANK], self.mass[LABEL]), np.float64)

    def without(self, count: int) -> Beam:
        """The same without the first `count` tokens of all hypotheses."""
        return replace(
            self,
            tokens=self.tokens[:, count:],
            times=self.times[:, :, count:],
            lengths=self.lengths - count,
        )

    def rows_at(self, places: Ints | NDArray[np.bool_]) -> Beam:
        """Some of the hypotheses, by their places or a mask."""
        tokens, lengths = self.tokens[places], self.lengths[places]
        longest = lengths.max(initial=0)
        return replace(
            self,
            tokens=tokens[:, :longest],
            times=self.times[:, places, :longest],
            lengths=lengths,
            mass=self.mass[:, places],
            best=self.best[:, places],
            **{name: getattr(self, name)[places] for name in _BY_HYPOTHESIS},
        )

    def joined(self, other: Beam) -> Beam:
        """The hypotheses of both, which must all differ."""
        size = max(self.tokens.shape[1], other.tokens.shape[1])
        one, two = self._padded(size), other._padded(size)
        values = {
            name: np.concatenate(
                (getattr(one, name), getattr(two, name)), axis=int(name in ("times", "mass", "best"))
            )
            for name in _NAMES
        }
        return Beam(**values)

    def _padded(self, size: int) -> Beam:
        missing = size - self.tokens.shape[1]
        if not missing:
            return self
        return replace(
            self,
            tokens=np.pad(self.tokens, ((0, 0), (0, missing))),
            times=np.pad(self.times, ((0, 0), (0, 0), (0, missing))),
        )


_NAMES = tuple(field.name for field in fields(Beam))
_BY_HYPOTHESIS = ("last", "key", "parent_key", "bonus", "memory", "rows")


def paused(beam: Beam, blank: float) -> Beam:
    """After a frame that is a blank for certain, of log-probability `blank`."""
    mass, best, times = np.full_like(beam.mass, -np.inf), np.full_like(beam.best, -np.inf), beam.times
    mass[BLANK] = beam.total + blank
    best[BLANK] = beam.best.max(axis=0) + blank
    if np.isfinite(beam.mass[LABEL]).any():
        times = np.broadcast_to(_best_times(beam), times.shape)
    return replace(beam, mass=mass, best=best, times=times)


def stayed(beam: Beam, frame: Floats, blank_id: int) -> Beam:
    """After a frame (V,) that adds no token: a blank, or the last token going on."""
    again = np.where(beam.last == blank_id, -np.inf, frame[beam.last])
    mass = np.stack((beam.total + frame[blank_id], beam.mass[LABEL] + again))
    best = np.stack((beam.best.max(axis=0) + frame[blank_id], beam.best[LABEL] + again))
    return replace(beam, mass=mass, best=best, times=np.stack((_best_times(beam), beam.times[LABEL])))


def growth(beam: Beam, tokens: Ints, frame: Floats) -> tuple[Floats, Floats]:
    """(H, K) twice: log-probability of all paths, and of the best, that add one of the `tokens` (K,) in a frame."""
    repeats = tokens == beam.last[:, None]
    mass = np.where(repeats, beam.mass[BLANK][:, None], beam.total[:, None])
    best = np.where(repeats, beam.best[BLANK][:, None], beam.best.max(axis=0)[:, None])
    return mass + frame[tokens], best + frame[tokens]


def merge(old: Beam, stay: Beam, tokens: Ints, mass: Floats, best: Floats, time: int) -> tuple[Beam, Floats]:
    """Add up what spells the same: a hypothesis that stays, and another that grows into it.

    Args:
        old: before the frame.
        stay: after it, where nothing is added.
        tokens: (K,) in rising order.
        mass: (H, K) as of `growth`.
        best: (H, K) as of `growth`.
        time: the frame's number.

    Returns:
        stay, with the ways that grow into it; and `mass` without them.
    """
    parents, children = np.nonzero(old.key[:, None] == old.parent_key)
    columns = np.searchsorted(tokens, old.last[children])
    found = columns < len(tokens)
    found[found] = tokens[columns[found]] == old.last[children[found]]
    parents, children, columns = parents[found], children[found], columns[found]
    if not len(parents):
        return stay, mass
    summed, highest, times, rest = stay.mass.copy(), stay.best.copy(), stay.times.copy(), mass.copy()
    summed[LABEL, children] = np.logaddexp(summed[LABEL, children], mass[parents, columns])
    rest[parents, columns] = -np.inf
    better = best[parents, columns] > highest[LABEL, children]
    parents, children, columns = parents[better], children[better], columns[better]
    highest[LABEL, children] = best[parents, columns]
    times[LABEL, children] = _growing_times(old, parents, tokens[columns])
    times[LABEL, children, old.lengths[children] - 1] = time
    return replace(stay, mass=summed, best=highest, times=times), rest


def extended(old: Beam, parents: Ints, tokens: Ints, mass: Floats, best: Floats, time: int) -> Beam:
    """New hypotheses (N,): parents with a token more, still without what the scorers say of it."""
    count, rows = len(parents), np.arange(len(parents))
    lengths = old.lengths[parents]
    room = np.zeros((count, old.tokens.shape[1] + 1), np.int64)
    spelled, times = room.copy(), room
    spelled[:, :-1], times[:, :-1] = old.tokens[parents], _growing_times(old, parents, tokens)
    spelled[rows, lengths], times[rows, lengths] = tokens, time
    dead = np.full(count, -np.inf)
    return Beam(
        tokens=spelled,
        times=np.stack((times, times)),
        lengths=lengths + 1,
        last=tokens,
        key=old.key[parents] * _FACTOR + tokens.astype(np.uint64) + _FIRST_KEY,
        parent_key=old.key[parents],
        mass=np.stack((dead, mass)),
        best=np.stack((dead, best)),
        bonus=old.bonus[parents],
        memory=old.memory[parents],
        rows=old.rows[parents],
    )


def shared(beam: Beam) -> int:
    """How many leading tokens all hypotheses have, at the same times."""
    size = int(beam.lengths.min())
    tokens, times = beam.tokens[:, :size], beam.times[:, :, :size]
    same = (tokens == tokens[0]).all(axis=0) & (times == times[0, 0]).all(axis=(0, 1))
    return size if same.all() else int(same.argmin())


def first_time(beam: Beam) -> int | None:
    """The first of all tokens' times; None without tokens."""
    times = beam.times[:, beam.lengths > 0, :1]
    return int(times.min()) if times.size else None


def settle(beam: Beam, best: int, frame: int) -> Beam:
    """Those that agree with the hypothesis in place `best` on its tokens up to a frame; their times become its.

    A path that says its next token before the last of these times does not agree.
    """
    end = BLANK if beam.best[BLANK, best] >= beam.best[LABEL, best] else LABEL
    own = beam.times[end, best]
    count = int(np.count_nonzero(own[: beam.lengths[best]] <= frame))
    if not count:
        return beam
    agree = (beam.tokens[:, :count] == beam.tokens[best, :count]).all(axis=1) & (beam.lengths >= count)
    times = beam.times.copy()
    times[:, :, :count] = own[:count]
    after = times[:, :, count : count + 1].max(axis=2, initial=0)
    later = (beam.lengths <= count) | (after > own[count - 1])
    times = np.where(later[:, :, None], times, times[::-1])
    return replace(beam, times=times).rows_at(agree & later.any(axis=0))


def _best_times(beam: Beam) -> Ints:
    """(H, L): on the better of the two paths."""
    by_blank = (beam.best[BLANK] >= beam.best[LABEL])[:, None]
    return np.asarray(np.where(by_blank, beam.times[BLANK], beam.times[LABEL]), np.int64)


def _growing_times(old: Beam, parents: Ints, tokens: Ints) -> Ints:
    """(N, L): times of the paths that may go on with the tokens (N,)."""
    repeats = (tokens == old.last[parents])[:, None]
    return np.asarray(np.where(repeats, old.times[BLANK, parents], _best_times(old)[parents]), np.int64)
