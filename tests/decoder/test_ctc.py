"""Greedy search against a plain spelling-out of its definition, whole and in steps."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanformer.decoder.ctc import GreedySearch, GreedyState
from leanformer.decoder.hypothesis import Hypothesis

VOCABULARY = 4
labels_strategy = st.lists(st.integers(0, VOCABULARY - 1), max_size=30)


def log_probs_of(labels: list[int]) -> np.ndarray:
    """(T, V) log-probabilities whose best labels are these."""
    logits = np.full((len(labels), VOCABULARY), -1.0, np.float32)
    logits[np.arange(len(labels)), labels] = 1.0
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def search_in_steps(labels: list[int], sizes: list[int]) -> GreedyState:
    search = GreedySearch()
    state, log_probs = search.initial_state(), log_probs_of(labels)
    for size in [*sizes, len(labels)]:
        state, log_probs = search.step(state, log_probs[:size]), log_probs[size:]
    return state


@given(labels_strategy, st.lists(st.integers(0, 9), max_size=9))
def test_steps_give_what_the_definition_says(labels: list[int], sizes: list[int]) -> None:
    expected, frame = [], 0
    for label, run in groupby(labels):
        if label != 0:
            expected.append((label, frame))
        frame += len(list(run))
    best = GreedySearch().hypothesis(search_in_steps(labels, sizes))
    assert list(zip(best.tokens, best.times, strict=True)) == expected
    assert best.score == pytest.approx(float(log_probs_of(labels).max(axis=1, initial=-9).sum()), abs=1e-4)


def test_a_label_over_a_step_boundary_is_one_token() -> None:
    assert GreedySearch().hypothesis(search_in_steps([2, 2, 2], [1, 1])).tokens == (2,)
    assert GreedySearch().hypothesis(search_in_steps([2, 0, 2], [1, 1])).tokens == (2, 2)


def test_another_blank() -> None:
    search = GreedySearch(blank_id=3)
    state = search.step(search.initial_state(), log_probs_of([3, 0, 0, 3, 0, 1]))
    assert search.hypothesis(state).tokens == (0, 0, 1)


def test_dropping_keeps_the_clock_and_the_last_label() -> None:
    search = GreedySearch()
    state = search_in_steps([0, 1, 2], [])
    assert search.settled(state) == 2
    state = search.step(search.drop(state, 1), log_probs_of([2, 2, 0, 1]))
    assert search.hypothesis(state).tokens == (2, 1)
    assert search.hypothesis(state).times == (2, 6)


def test_a_step_leaves_the_old_state_as_it_was() -> None:
    search = GreedySearch()
    before = search_in_steps([1, 0], [])
    search.step(before, log_probs_of([2, 3]))
    assert before == search_in_steps([1, 0], [])


def test_hypothesis_wants_a_time_for_each_token() -> None:
    with pytest.raises(ValueError, match="2 tokens but 1 times"):
        Hypothesis((1, 2), (0,), 0.0, (0.0, 0.0))
