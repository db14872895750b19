"""What a beam search asks of hotwords and language models, which raise or lower the scores of what is said.

A scorer holds no stream's state: it gives each hypothesis an integer, and the next one for each token it adds.
All arguments and results are arrays over hypotheses, so that one call serves a whole beam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Scorer(Protocol):
    """Scores tokens by those before them: natural logarithms, already weighted."""

    def initial_state(self) -> int:
        """The state before the first token."""
        ...

    def advance(self, states: Ints, tokens: Ints) -> Ints:
        """States (N,) and the tokens (N,) said in them, to the states after."""
        ...

    def rows(self, states: Ints) -> Floats:
        """(N, V): what each token of the vocabulary adds to the score. The blank's column means nothing."""
        ...

    def unearned(self, states: Ints) -> Floats:
        """(N,) what was added in the hope of tokens to come: taken off if the speech ends here."""
        ...


@dataclass(frozen=True, slots=True)
class Scorers:
    """Several scorers, or none, as one; their states are the columns of a matrix (N, scorers)."""

    members: Sequence[Scorer]

    def begin(self) -> Ints:
        """The states of one hypothesis that says nothing yet."""
        return np.array([[member.initial_state() for member in self.members]], np.int64)

    def advance(self, states: Ints, tokens: Ints) -> Ints:
        """The states after the tokens (N,)."""
        after = np.empty_like(states)
        for column, member in enumerate(self.members):
            after[:, column] = member.advance(states[:, column], tokens)
        return after

    def rows(self, states: Ints, vocabulary_size: int) -> Floats:
        """(N, V): what all add for each token; (N, 0) if there is no scorer."""
        if not self.members:
            return np.zeros((len(states), 0))
        rows = np.zeros((len(states), vocabulary_size))
        for column, member in enumerate(self.members):
            rows += member.rows(states[:, column])
        return rows

    def unearned(self, states: Ints) -> Floats:
        """(N,) what all take off at the end."""
        off = np.zeros(len(states))
        for column, member in enumerate(self.members):
            off += member.unearned(states[:, column])
        return off
