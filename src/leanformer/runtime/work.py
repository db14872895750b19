"""What one stream has to do, in order, up to the step of the model that it waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from leanformer.runtime.bundle import Pass
from leanformer.runtime.steps import Outcome, Step, Steps, run


class Work:
    """A queue of generators; only the first has begun. An error ends all of it, and nobody else's.

    `step` is what it waits for, None if there is nothing to do.
    """

    def __init__(self) -> None:
        self.step: Step | None = None
        self._queue: deque[Steps[None]] = deque()
        self._error: Exception | None = None

    def add(self, steps: Steps[None]) -> None:
        """Do this after all that was added before; what needs no step before it is done at once."""
        self.check()
        self._queue.append(steps)
        if self.step is None:
            self.take()

    def waits_for(self, which: Pass) -> bool:
        """Whether its step is one of this pass."""
        return self.step is not None and self.step.session.which == which

    def take(self, outcome: Outcome | None = None) -> None:
        """Go on with the outcome of `step`, to the next step or to the end."""
        while self._queue:
            try:
                steps = self._queue[0]
                self.step = next(steps) if outcome is None else steps.send(outcome)
                return
            except StopIteration:
                self._queue.popleft()
            except Exception as error:
                self.fail(error)
            except BaseException:  # Ctrl-C: what comes after this piece may still be wanted
                self._queue.popleft()
                self.step = None
                raise
            outcome = None
        self.step = None

    def fail(self, error: Exception) -> None:
        """Give up; `check` and `add` raise the error from now on."""
        self.clear()
        self._error = error

    def check(self) -> None:
        """Raise the error that it failed with, if it did."""
        if self._error is not None:
            raise self._error

    def clear(self) -> None:
        """Forget all that is left to do."""
        self._queue.clear()
        self.step = None


def advance(works: Sequence[Work], most: int = 1) -> None:
    """Run the steps that `works` wait for, each of them for one, in calls of at most `most` rows."""
    kinds: dict[object, list[tuple[Work, Step]]] = {}
    for work in works:
        if work.step is not None:
            kinds.setdefault(work.step.kind, []).append((work, work.step))
    for rows in kinds.values():
        calls = -(-len(rows) // most)
        for call in range(calls):  # calls of equal size: 9 and 8 rows cost less than 16 and 1
            _call(rows[call::calls])


def _call(rows: Sequence[tuple[Work, Step]]) -> None:
    try:
        outcomes = run([step for _, step in rows])
    except Exception as error:
        if len(rows) == 1:
            rows[0][0].fail(error)
        else:  # whoever is to blame, fails alone
            for row in rows:
                _call([row])
        return
    for (work, _), outcome in zip(rows, outcomes, strict=True):
        work.take(outcome)
