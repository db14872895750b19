"""How much a language model should count: the weight and bonus with the fewest word errors.

Pattern search (Hooke and Jeeves, 1961): from a start, try a step up and down in each direction; go to the best, and
halve the steps where none is better. The directions are the weight, and the bonus for a weight of 1: what a token has
to gain grows with what it costs. Only the search is run again for each trial, and no pair is tried twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leanformer.decoder.ctc_beam import CtcBeamSearch
from leanformer.decoder.scorer import Scorer
from leanformer.evaluate.fit_words import search_tokens
from leanformer.evaluate.wer import count_errors, total
from leanformer.text.tokenizer import Tokenizer

_START = (0.6, 3.5)
_STEPS = (0.2, 1.0)
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """What a pair came to: the word error rate, 1 = as many errors as words."""

    weight: float
    bonus: float
    wer: float


def search_text(search: CtcBeamSearch, log_probs: NDArray[np.float32], tokenizer: Tokenizer) -> str:
    """What a search makes of a whole recording (T, V), run as a stream runs it."""
    return tokenizer.decode([token.id for token in search_tokens(search, log_probs)])


def word_error_rate(
    search: CtcBeamSearch,
    heard: Sequence[NDArray[np.float32]],
    references: Sequence[str],
    tokenizer: Tokenizer,
) -> float:
    """Of the search on recordings, each (T, V), whose transcripts have words."""
    texts = [search_text(search, log_probs, tokenizer) for log_probs in heard]
    return total(count_errors(references, texts)).wer or 0.0


def tune(
    scorer: Callable[[float, float], Scorer],
    beam: int,
    heard: Sequence[NDArray[np.float32]],
    references: Sequence[str],
    tokenizer: Tokenizer,
) -> Iterator[Trial]:
    """Each trial as it is done, until no step is better; the best of them is the result.

    Args:
        scorer: makes the language model's scorer, of a weight and a bonus.
        beam: how many hypotheses the search keeps.
        heard: the log-probabilities of each recording, (T, V).
        references: their transcripts.
        tokenizer: the model's.
    """

    def errors(weight: float, bonus: float) -> float:
        search = CtcBeamSearch(len(tokenizer), beam, (scorer(weight, bonus),), tokenizer.blank_id)
        return word_error_rate(search, heard, references, tokenizer)

    yield from pattern_search(errors)


def pattern_search(errors: Callable[[float, float], float]) -> Iterator[Trial]:
    """Trials of (weight, bonus), to the lowest of `errors` near the start."""
    done: dict[tuple[float, float], Trial] = {}
    best, steps = _START, np.array(_STEPS)
    for _ in range(_ROUNDS):
        while True:
            around = [(0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)]
            tried = [_place(best, steps * turn) for turn in around]
            for weight, ratio in tried:
                if weight > 0 and (weight, ratio) not in done:
                    bonus = round(weight * ratio, 4)
                    done[weight, ratio] = Trial(weight, bonus, errors(weight, bonus))
                    yield done[weight, ratio]
            better = min(done, key=lambda place: done[place].wer)
            if better == best:
                break
            best = better
        steps = steps / 2


def _place(start: tuple[float, float], move: NDArray[np.float64]) -> tuple[float, float]:
    return round(start[0] + float(move[0]), 4), round(start[1] + float(move[1]), 4)
