"""A step of the model as a value: what a stream waits for, so that many streams' steps may be run as one.

Whatever needs the model is a generator (`Steps`). It yields a `Step`, and goes on when it is sent the `Outcome`:

    outcome = yield Step(session, frames, valid, state)

Who runs the steps is not its business: `alone` runs one at once, `run` many together. To one it is a batch of one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from leanformer.decoder.search import Reads
from leanformer.runtime.session import FloatArray, Session, State

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One row for a session to run: what `Session.step` takes, with a batch of 1.

    Attributes:
        session: the pass.
        frames: (1, T, F); whoever yields the step leaves them as they are until the outcome is there.
        valid: how many of the T frames are real.
        state: what the last step of this row gave.
        reads: what the search wants.
        encoded: whether the encoder's frames are wanted, too.
    """

    session: Session
    frames: FloatArray
    valid: int
    state: State
    reads: Reads = "log_probs"
    encoded: bool = False

    @property
    def kind(self) -> object:
        """Steps of the same kind can be rows of one call."""
        return self.session, self.frames.shape, self.reads, self.encoded


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a step gave: `found` (T', V or D) is what the search reads, `encoded` (T', D) if it was wanted."""

    found: FloatArray
    encoded: FloatArray | None
    state: State


Steps = Generator[Step, Outcome, Result]


def alone(steps: Steps[Result]) -> Result:
    """Run each step as it comes, and give what the generator returns."""
    try:
        step = next(steps)
        while True:
            step = steps.send(run([step])[0])
    except StopIteration as end:
        result: Result = end.value
        return result


def run(steps: Sequence[Step]) -> list[Outcome]:
    """The outcome of each of some steps, at least one and all of one kind, by one call of the graph."""
    first = steps[0]
    frames = _stacked([step.frames for step in steps])
    lengths = np.array([step.valid for step in steps], np.int64)
    state = stack([step.state for step in steps])
    encoded = None
    if first.encoded:
        log_probs, encoded, valid, state = first.session.step_encoded(frames, lengths, state)
        found = log_probs if first.reads == "log_probs" else encoded
    else:
        found, valid, state = first.session.step(frames, lengths, state, first.reads)
    return [
        Outcome(found[row, :count], None if encoded is None else encoded[row, :count], own)
        for row, (count, own) in enumerate(zip(valid.tolist(), unstack(state), strict=True))
    ]


def stack(states: Sequence[State]) -> State:
    """The states of B streams, each of a batch of 1, as one of a batch of B."""
    return tuple(_stacked(tensors) for tensors in zip(*states, strict=True))


def unstack(state: State) -> list[State]:
    """The inverse of `stack`. No part keeps the memory of the whole, which may be far larger."""
    rows = len(state[0]) if state else 0
    if rows == 1:
        return [state]
    return [tuple(tensor[row : row + 1].copy() for tensor in state) for row in range(rows)]


def _stacked(arrays: Sequence[FloatArray]) -> FloatArray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
