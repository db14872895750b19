"""Shallow fusion: a language model's opinion on what the recogniser believes to hear.

Gulcehre et al., "On using monolingual corpora in neural machine translation" (2015), section 4.1; for each token w
said after h, a hypothesis gets

    weight log p(w | h) + bonus

The bonus makes up for what every further token costs, without which the search would rather leave words out.
A stream has no sentence ends; what was said before a pause goes on counting after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leanformer.decoder.ngram import NGram
from leanformer.decoder.scorer import Floats, Ints
from leanformer.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A scorer. Its state holds the last N - 1 tokens, as the digits of a number of base V."""

    ngram: NGram
    weight: float
    bonus: float
    _bases: Ints = field(init=False)

    def __post_init__(self) -> None:
        size, length = self.ngram.vocabulary_size, self.ngram.order - 1
        if size**length >= 2**63:
            raise ConfigError(
                f"a language model of order {length + 1} over {size} tokens is too long for a 64-bit state: "
                "build it with a lower --order"
            )
        object.__setattr__(self, "_bases", size ** np.arange(length - 1, -1, -1, dtype=np.int64))

    def initial_state(self) -> int:
        """Nothing said."""
        return 0

    def advance(self, states: Ints, tokens: Ints) -> Ints:
        """States (N,) and the tokens (N,) said in them, to the states after."""
        if not len(self._bases):
            return states
        return np.asarray(states % self._bases[0] * self.ngram.vocabulary_size + tokens, np.int64)

    def rows(self, states: Ints) -> Floats:
        """(N, V): what each token of the vocabulary adds to the score."""
        contexts = states[:, None] // self._bases % self.ngram.vocabulary_size
        return self.weight * self.ngram.log_probs(contexts) + self.bonus

    def unearned(self, states: Ints) -> Floats:
        """Nothing: all that was said stays said."""
        return np.zeros(len(states))
