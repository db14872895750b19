"""What searches over a transducer find: against all ways one by one, and against scripts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transducer_models import (
    Bigrams,
    CountingPredictor,
    ScriptedJoiner,
    TwinJoiner,
    prefix,
    random_frames,
    random_model,
    search_in_steps,
)

from leanformer.decoder.hypothesis import Hypothesis
from leanformer.decoder.transducer import Memory, Transducer, TransducerGreedySearch, TransducerState
from leanformer.decoder.transducer_beam import TransducerBeamSearch


def all_ways(model: Transducer, frames: np.ndarray, max_symbols: int) -> dict[tuple[int, ...], float]:
    """The probability of every token sequence, summed over all alignments one by one."""
    vocabulary = model.predictor.embedding.shape[0]
    labels = range(1, vocabulary)
    in_frame = [said for count in range(max_symbols + 1) for said in product(labels, repeat=count)]
    found: dict[tuple[int, ...], float] = {}
    for way in product(in_frame, repeat=len(frames)):
        output, state = model.predictor.step(np.array([0]), model.predictor.initial_state())
        score = 0.0
        for frame, said in zip(frames, way, strict=True):
            for token in (*said, 0):
                score += model.joiner.log_probs(frame[None], output)[0, token]
                if token:
                    internal = model.joiner.label_log_probs(output)[0, token - 1]
                    score -= model.internal_lm_weight * internal
                    output, state = model.predictor.step(np.array([token]), state)
        tokens = tuple(token for said in way for token in said)
        found[tokens] = found.get(tokens, 0.0) + np.exp(score)
    return found


@pytest.mark.parametrize("weight", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_finds_everything(seed: int, weight: float) -> None:
    model, frames = random_model(seed, vocabulary=3, weight=weight), random_frames(seed, 3)
    expected = all_ways(model, frames, max_symbols=2)
    search = TransducerBeamSearch(model, beam=1000, max_symbols=2)
    found = search.step(search.initial_state(), frames).prefixes
    assert {p.tokens: pytest.approx(np.exp(p.score)) for p in found} == expected
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)


@pytest.mark.parametrize("seed", range(8))
def test_a_beam_finds_the_best(seed: int) -> None:
    model, frames = random_model(seed, vocabulary=3), random_frames(seed, 3)
    expected = all_ways(model, frames, max_symbols=2)
    search = TransducerBeamSearch(model, beam=16, max_symbols=2)
    best = search.hypothesis(search.step(search.initial_state(), frames))
    assert best.tokens == max(expected, key=lambda tokens: expected[tokens])
    # What the beam gave up is missing from the sum.
    assert 0.99 * expected[best.tokens] < np.exp(best.score) <= expected[best.tokens] * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_scorers_decide_among_all_hypotheses(seed: int) -> None:
    model, frames, scorer = random_model(seed, vocabulary=3), random_frames(seed, 3), Bigrams(seed, 3)
    ways = all_ways(model, frames, max_symbols=2)
    expected = {tokens: np.log(chance) + scorer.total(tokens) for tokens, chance in ways.items()}
    search = TransducerBeamSearch(model, 1000, 2, scorers=[scorer], vocabulary_size=3)
    state = search.step(search.initial_state(), frames)
    best = search.hypothesis(state)
    assert best.tokens == max(expected, key=lambda tokens: expected[tokens])
    assert best.score == pytest.approx(np.log(ways[best.tokens]))  # the model's own
    off = [scorer.unearned(prefix.scorers)[0] for prefix in state.prefixes]
    found = {p.tokens: pytest.approx(p.rank - less) for p, less in zip(state.prefixes, off, strict=True)}
    assert found == expected


def test_scorers_change_what_is_heard() -> None:
    changed = 0
    for seed in range(8):
        frames, model = random_frames(seed, 12), random_model(seed)
        plain = TransducerBeamSearch(model, 4)
        helped = TransducerBeamSearch(model, 4, scorers=[Bigrams(seed, 4)], vocabulary_size=4)
        heard = [search.hypothesis(search_in_steps(search, frames, [])) for search in (plain, helped)]
        changed += heard[0].tokens != heard[1].tokens
    assert changed >= 4


def test_what_was_added_in_hope_is_taken_off_in_the_end() -> None:
    scorer = Bigrams(0, 3)
    scorer.table = np.array([[0.0, 1.0, 0.5]] * 3)
    scorer.hope = np.array([0.0, 1.0, 0.0])
    model, frames = Transducer(CountingPredictor(), TwinJoiner()), np.array([[1.0], [0.0]], np.float32)
    for scorers, expected in (((), (1,)), ((scorer,), (2,))):
        search = TransducerBeamSearch(model, 4, 1, scorers=scorers, vocabulary_size=3)
        state = search.step(search.initial_state(), frames)
        assert state.prefixes[0].tokens == (1,)
        assert search.hypothesis(state).tokens == expected


def test_scorers_need_the_size_of_the_vocabulary() -> None:
    with pytest.raises(ValueError, match="vocabulary_size"):
        TransducerBeamSearch(random_model(0), scorers=[Bigrams(0, 4)])


def test_greedy_takes_the_best_label_until_it_is_the_blank() -> None:
    model, frames = random_model(0), random_frames(0, 30)
    output, state = model.predictor.step(np.array([0]), model.predictor.initial_state())
    expected, score = [], 0.0
    for index, frame in enumerate(frames):
        for said in range(3):
            scores = model.joiner.log_probs(frame[None], output)[0]
            token = int(scores.argmax()) if said < 2 else 0
            score += scores[token]
            if token == 0:
                break
            expected.append((token, index))
            output, state = model.predictor.step(np.array([token]), state)
    best = search_in_steps(TransducerGreedySearch(model, 2), frames, []).prefixes[0].hypothesis()
    assert list(zip(best.tokens, best.times, strict=True)) == expected
    assert best.score == pytest.approx(score)
    assert len(set(best.times)) < len(best.times)  # some frames say two


@given(st.lists(st.integers(0, 2), max_size=12), st.data())
@settings(max_examples=15)
def test_a_clear_script_is_what_every_search_says(counts: list[int], data: st.DataObject) -> None:
    script = tuple(data.draw(st.lists(st.integers(1, 4), min_size=sum(counts), max_size=sum(counts))))
    model = Transducer(CountingPredictor(), ScriptedJoiner(script))
    frames = np.cumsum(counts, dtype=np.float32)[:, None]
    times = tuple(frame for frame, count in enumerate(counts) for _ in range(count))
    for search in (TransducerGreedySearch(model), *(TransducerBeamSearch(model, beam) for beam in (1, 4))):
        best = search.hypothesis(search_in_steps(search, frames, []))
        assert (best.tokens, best.times) == (script, times)
        if isinstance(search, TransducerGreedySearch):
            assert best.score == pytest.approx((len(script) + len(counts)) * np.log(0.9))


def test_a_frame_holds_no_more_labels_than_allowed() -> None:
    model = Transducer(CountingPredictor(), ScriptedJoiner((1, 2, 3, 4)))
    frames = np.array([[4.0], [4.0]], np.float32)
    for search in (TransducerGreedySearch(model, 3), TransducerBeamSearch(model, 4, 3)):
        best = search.hypothesis(search.step(search.initial_state(), frames))
        assert (best.tokens, best.times) == ((1, 2, 3, 4), (0, 0, 0, 1))
    search = TransducerGreedySearch(model, 1)
    assert search.hypothesis(search.step(search.initial_state(), frames)).tokens == (1, 2)


@dataclass
class Counted:
    """A silent joiner and a predictor that count their calls."""

    joined: int = 0
    predicted: int = 0

    def initial_state(self) -> Memory:
        return CountingPredictor().initial_state()

    def step(self, tokens: np.ndarray, state: Memory) -> tuple[np.ndarray, Memory]:
        self.predicted += 1
        return CountingPredictor().step(tokens, state)

    def log_probs(self, encoder: np.ndarray, predictor: np.ndarray) -> np.ndarray:
        self.joined += 1
        return TwinJoiner().log_probs(encoder, predictor)


@pytest.mark.parametrize(("beam", "joined", "predicted"), [(2, 1, 0), (1000, 3, 2)])
def test_only_what_may_enter_the_beam_is_computed(beam: int, joined: int, predicted: int) -> None:
    counted = Counted()
    search = TransducerBeamSearch(Transducer(counted, counted), beam, max_symbols=2)
    search.step(TransducerState(1, (prefix((1, 0)), prefix((2, 0)))), np.zeros((1, 1), np.float32))
    assert (counted.joined, counted.predicted) == (joined, predicted)


def test_the_internal_language_model_is_taken_off() -> None:
    frames = np.array([[1.0], [0.0]], np.float32)
    for weight, expected in ((0.0, (1,)), (0.5, (2,))):
        model = Transducer(CountingPredictor(), TwinJoiner(), weight)
        for search in (TransducerGreedySearch(model), TransducerBeamSearch(model)):
            best = search.hypothesis(search.step(search.initial_state(), frames))
            assert best.tokens == expected


def test_the_same_tokens_by_two_ways_are_one_hypothesis_at_the_likelier_time() -> None:
    """Frames that make 1 more and more likely: 0.2, then 0.6; nothing follows it."""

    class Once:
        def log_probs(self, encoder: np.ndarray, predictor: np.ndarray) -> np.ndarray:
            label = np.where(predictor[:, :1] == 0, encoder, 0.0)
            with np.errstate(divide="ignore"):
                return np.log(np.concatenate([1 - label, label], axis=1))

    search = TransducerBeamSearch(Transducer(CountingPredictor(), Once()), beam=2)
    state = search.step(search.initial_state(), np.array([[0.2], [0.6]]))
    score, log_prob = pytest.approx(np.log(0.2 + 0.8 * 0.6)), pytest.approx(np.log(0.6))
    assert search.hypothesis(state) == Hypothesis((1,), (1,), score, (log_prob,))
    assert state.prefixes[1].tokens == ()
