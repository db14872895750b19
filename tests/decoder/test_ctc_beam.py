"""Prefix beam search against all paths, spelled out; and as a stream."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanformer.decoder.ctc import GreedySearch
from leanformer.decoder.ctc_beam import CtcBeamSearch, CtcBeamState
from leanformer.decoder.hypothesis import Hypothesis

VOCABULARY = 3
WIDE = 1000


def random_log_probs(seed: int, frames: int, vocabulary: int = VOCABULARY, scale: float = 2.0) -> np.ndarray:
    logits = scale * np.random.default_rng(seed).standard_normal((frames, vocabulary))
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


@dataclass
class Spelled:
    """All paths of one text: their probability, and the best of them with its times."""

    total: float = 0.0
    best: float = 0.0
    times: tuple[int, ...] = ()


def all_texts(log_probs: np.ndarray) -> dict[tuple[int, ...], Spelled]:
    texts: dict[tuple[int, ...], Spelled] = defaultdict(Spelled)
    probabilities = np.exp(log_probs.astype(np.float64))
    for path in product(range(log_probs.shape[1]), repeat=len(log_probs)):
        tokens, times, frame = [], [], 0
        for label, run in groupby(path):
            if label != 0:
                tokens.append(label)
                times.append(frame)
            frame += len(list(run))
        probability = float(np.prod(probabilities[np.arange(len(path)), list(path)]))
        text = texts[tuple(tokens)]
        text.total += probability
        if probability > text.best:
            text.best, text.times = probability, tuple(times)
    return texts


def exact(beam: int = WIDE, **options: object) -> CtcBeamSearch:
    """A search that leaves nothing out but what does not fit into the beam."""
    plain = {"skip_blank": 2.0, "floor": -np.inf, "patience": 10_000}
    return CtcBeamSearch(VOCABULARY, beam, **(plain | options))  # type: ignore[arg-type]


def in_steps(
    search: CtcBeamSearch, log_probs: np.ndarray, sizes: list[int]
) -> tuple[Hypothesis, CtcBeamState]:
    """All tokens, with settled ones dropped after each step as the runtime does."""
    state, tokens, times, sure = search.initial_state(), (), (), ()
    for size in [*sizes, len(log_probs)]:
        state, log_probs = search.step(state, log_probs[:size]), log_probs[size:]
        count, best = search.settled(state), search.hypothesis(state)
        tokens, times = tokens + best.tokens[:count], times + best.times[:count]
        sure += best.log_probs[:count]
        state = search.drop(state, count)
    rest = search.hypothesis(state)
    return Hypothesis(tokens + rest.tokens, times + rest.times, rest.score, sure + rest.log_probs), state


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_adds_up_all_paths(seed: int) -> None:
    log_probs = random_log_probs(seed, 6)
    expected = all_texts(log_probs)
    beam = exact().step(exact().initial_state(), log_probs).beam
    found = {
        tuple(row[:length].tolist()): (total, best)
        for row, length, total, best in zip(
            beam.tokens, beam.lengths, beam.total, beam.best.max(axis=0), strict=True
        )
    }
    assert found.keys() == expected.keys()
    for text, (total, best) in found.items():
        assert np.exp(total) == pytest.approx(expected[text].total)
        assert np.exp(best) == pytest.approx(expected[text].best)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_text_has_the_times_of_its_best_path(seed: int) -> None:
    log_probs = random_log_probs(seed, 7)
    expected = all_texts(log_probs)
    text = max(expected, key=lambda one: expected[one].total)
    best = exact().hypothesis(exact().step(exact().initial_state(), log_probs))
    assert (best.tokens, best.times) == (text, expected[text].times)
    assert best.score == pytest.approx(np.log(expected[text].total))


def test_the_likeliest_text_is_not_on_the_likeliest_path() -> None:
    log_probs = np.log(np.array([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0]]) + 1e-9).astype(np.float32)
    greedy = GreedySearch()
    assert greedy.hypothesis(greedy.step(greedy.initial_state(), log_probs)).tokens == ()
    assert in_steps(exact(4), log_probs, [])[0].tokens == (1,)


@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(0, 9), max_size=9),
    beam=st.integers(1, 5),
    patience=st.sampled_from([3, 10, 1000]),
)
@settings(max_examples=60)
def test_any_steps_give_the_same(seed: int, sizes: list[int], beam: int, patience: int) -> None:
    log_probs = random_log_probs(seed, 40, scale=4.0)
    search = CtcBeamSearch(VOCABULARY, beam, patience=patience, skip_blank=0.9)
    state = search.step(search.initial_state(), log_probs)
    assert in_steps(search, log_probs, sizes)[0] == search.hypothesis(state)


def test_a_wider_beam_finds_no_less_likely_text() -> None:
    log_probs = random_log_probs(3, 30)
    scores = [in_steps(exact(beam), log_probs, [])[0].score for beam in (1, 2, 4, 8, 64)]
    assert scores == sorted(scores)
    assert scores[0] < scores[-1]


def test_hypotheses_differ() -> None:
    beam = exact(16).step(exact(16).initial_state(), random_log_probs(5, 40)).beam
    texts = {tuple(row[:length]) for row, length in zip(beam.tokens, beam.lengths, strict=True)}
    assert len(texts) == len(set(beam.key.tolist())) == 16


@pytest.mark.parametrize("seed", range(6))
def test_sure_blanks_are_passed_over(seed: int) -> None:
    sure = np.log(np.array([[1 - 2e-6, 1e-6, 1e-6]], np.float32))
    parts = [random_log_probs(seed, 8, scale=1.0), sure, sure, random_log_probs(seed + 50, 8, scale=1.0)]
    log_probs = np.concatenate(parts)
    best, whole = in_steps(exact(skip_blank=0.999), log_probs, [9])[0], in_steps(exact(), log_probs, [])[0]
    assert (best.tokens, best.times) == (whole.tokens, whole.times)
    passing = exact(skip_blank=0.999)
    state = passing.step(passing.initial_state(), sure)
    assert state.beam.lengths.tolist() == [0]
    assert passing.hypothesis(state).score == pytest.approx(float(sure[0, 0]))


def test_an_old_token_settles_although_another_is_nearly_as_likely() -> None:
    doubtful = np.log(np.array([[0.02, 0.5, 0.48]], np.float32))
    silence = np.log(np.tile(np.array([0.98, 0.01, 0.01], np.float32), (40, 1)))
    log_probs = np.concatenate([doubtful, silence])
    patient, search = exact(3), CtcBeamSearch(VOCABULARY, 3, patience=20)
    assert patient.settled(patient.step(patient.initial_state(), log_probs)) == 0
    assert search.settled(search.step(search.initial_state(), log_probs)) == 1
    assert in_steps(search, log_probs, [5] * 8)[0].tokens == (1,)


def test_a_dropped_token_that_goes_on_is_still_one() -> None:
    search = exact(1)
    twos = np.log(np.array([[0.1, 0.1, 0.8]], np.float32))
    state = search.step(search.initial_state(), twos)
    assert search.settled(state) == 1
    state = search.step(search.drop(state, 1), twos)
    assert search.hypothesis(state).tokens == ()


def test_a_step_leaves_the_old_state_as_it_was() -> None:
    search = CtcBeamSearch(VOCABULARY, 4)
    before = search.step(search.initial_state(), random_log_probs(1, 12))
    copies = {name: getattr(before.beam, name).copy() for name in before.beam.__slots__}
    search.step(search.drop(before, search.settled(before)), random_log_probs(2, 20))
    for name, copy in copies.items():
        np.testing.assert_array_equal(getattr(before.beam, name), copy)


def test_a_beam_has_room_for_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        CtcBeamSearch(VOCABULARY, 0)


@given(seed=st.integers(0, 10_000), beam=st.integers(2, 12), patience=st.integers(1, 12))
@settings(max_examples=80)
def test_the_times_of_every_path_rise_whatever_is_settled(seed: int, beam: int, patience: int) -> None:
    search = CtcBeamSearch(VOCABULARY, beam, patience=patience)
    state, log_probs = search.initial_state(), random_log_probs(seed, 60, scale=2.0)
    for start in range(0, len(log_probs), 5):
        state = search.step(state, log_probs[start : start + 5])
        for row, length in enumerate(state.beam.lengths):
            assert (np.diff(state.beam.times[:, row, :length], axis=1) > 0).all()
        state = search.drop(state, search.settled(state))
