"""What a search says of each token is the model's own: whatever helps the search, and however it is stepped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanformer.decoder.ctc import GreedySearch
from leanformer.decoder.ctc_beam import CtcBeamSearch
from leanformer.decoder.hypothesis import Hypothesis
from leanformer.decoder.transducer import Memory, Transducer, TransducerGreedySearch
from leanformer.decoder.transducer_beam import TransducerBeamSearch

VOCABULARY = 5


class Favourite:
    """A scorer that wants one token, badly."""

    def __init__(self, token: int, weight: float) -> None:
        self.row = np.where(np.arange(VOCABULARY) == token, weight, 0.0)

    def initial_state(self) -> int:
        return 0

    def advance(self, states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return states

    def rows(self, states: np.ndarray) -> np.ndarray:
        return np.tile(self.row, (len(states), 1))

    def unearned(self, states: np.ndarray) -> np.ndarray:
        return np.zeros(len(states))


def random_log_probs(seed: int, frames: int = 40) -> np.ndarray:
    logits = 3.0 * np.random.default_rng(seed).standard_normal((frames, VOCABULARY))
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def dropping(search: GreedySearch | CtcBeamSearch, log_probs: np.ndarray, sizes: list[int]) -> Hypothesis:
    """Steps of some sizes, with settled tokens taken out after each."""
    state = search.initial_state()
    tokens: tuple[int, ...] = ()
    times: tuple[int, ...] = ()
    sure: tuple[float, ...] = ()
    for size in [*sizes, len(log_probs)]:
        state, log_probs = search.step(state, log_probs[:size]), log_probs[size:]  # type: ignore[arg-type]
        best, count = search.hypothesis(state), search.settled(state)  # type: ignore[arg-type]
        tokens, times = tokens + best.tokens[:count], times + best.times[:count]
        sure += best.log_probs[:count]
        state = search.drop(state, count)  # type: ignore[arg-type]
    rest = search.hypothesis(state)  # type: ignore[arg-type]
    return Hypothesis(tokens + rest.tokens, times + rest.times, rest.score, sure + rest.log_probs)


@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(0, 9), max_size=9),
    beam=st.integers(0, 4),
    weight=st.sampled_from([0.0, 4.0]),
)
@settings(max_examples=50)
def test_they_are_of_the_token_in_its_frame(seed: int, sizes: list[int], beam: int, weight: float) -> None:
    log_probs = random_log_probs(seed)
    search = CtcBeamSearch(VOCABULARY, beam, [Favourite(3, weight)], patience=7) if beam else GreedySearch()
    found = dropping(search, log_probs, sizes)
    expected = [log_probs[time, token] for token, time in zip(found.tokens, found.times, strict=True)]
    assert found.log_probs == pytest.approx(expected, abs=1e-6)


def test_a_scorer_changes_the_text_but_not_how_sure_the_model_is() -> None:
    log_probs = np.log(np.array([[0.02, 0.9, 0.02, 0.05, 0.01]], np.float32))
    helped = CtcBeamSearch(VOCABULARY, 4, [Favourite(3, 9.0)])
    found = helped.hypothesis(helped.step(helped.initial_state(), log_probs))
    assert found.tokens == (3,)
    assert np.exp(found.log_probs[0]) == pytest.approx(0.05, abs=1e-6)


def test_a_beam_holds_no_frame_longer_than_its_tokens() -> None:
    search = CtcBeamSearch(VOCABULARY, 4, patience=10)
    state, log_probs = search.initial_state(), random_log_probs(1, 600)
    for start in range(0, len(log_probs), 16):
        state = search.step(state, log_probs[start : start + 16])
        state = search.drop(state, search.settled(state))
        assert len(state.heard) <= 10 + 16 + 8  # patience, a step, and how often tokens are looked at
        assert state.heard.base is None


class Counting:
    """A predictor that counts the tokens."""

    def initial_state(self) -> Memory:
        return (np.zeros((1, 1)),)

    def step(self, tokens: np.ndarray, state: Memory) -> tuple[np.ndarray, Memory]:
        count = state[0] + (tokens != 0)[:, None]
        return count.astype(np.float32), (count,)


class Once:
    """Label 1 with 0.7, label 2 with 0.2, then nothing; its internal language model loves label 1."""

    def log_probs(self, encoder: np.ndarray, predictor: np.ndarray) -> np.ndarray:
        first, rest = np.log([0.1, 0.7, 0.2]), np.log([0.998, 0.001, 0.001])
        return np.where(predictor == 0, first, rest).astype(np.float32)

    def label_log_probs(self, predictor: np.ndarray) -> np.ndarray:
        return np.where(predictor == 0, np.log([0.999, 0.001]), np.log([0.5, 0.5])).astype(np.float32)


@pytest.mark.parametrize(("weight", "token", "expected"), [(0.0, 1, 0.7), (1.0, 2, 0.2)])
@pytest.mark.parametrize("kind", [TransducerGreedySearch, TransducerBeamSearch])
def test_a_transducer_says_it_without_its_internal_language_model(
    kind: type[TransducerGreedySearch] | type[TransducerBeamSearch],
    weight: float,
    token: int,
    expected: float,
) -> None:
    search = kind(Transducer(Counting(), Once(), weight))
    state = search.step(search.initial_state(), np.zeros((1, 1), np.float32))
    best = search.hypothesis(state)
    assert best.tokens == (token,)
    assert np.exp(best.log_probs) == pytest.approx([expected], rel=1e-5)
    assert search.hypothesis(search.drop(state, 1)).log_probs == ()
