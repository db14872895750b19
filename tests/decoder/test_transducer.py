"""Searches over a transducer: a scripted one that says what frames tell it to, and small random ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanformer.decoder.hypothesis import Hypothesis
from leanformer.decoder.transducer import (
    Memory,
    Prefix,
    Transducer,
    TransducerGreedySearch,
    TransducerState,
)
from leanformer.decoder.transducer_beam import TransducerBeamSearch

Search = TransducerGreedySearch | TransducerBeamSearch
SIZE = 3  # of everything in a random model


class Bigrams:
    """A scorer whose state is the last token: a table says what each next one adds, and what is hoped for."""

    def __init__(self, seed: int, vocabulary: int) -> None:
        random = np.random.default_rng(seed + 3)
        self.table = 2.0 * random.normal(size=(vocabulary, vocabulary))
        self.hope = 3.0 * random.random(vocabulary)

    def initial_state(self) -> int:
        return 0

    def advance(self, states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return tokens

    def rows(self, states: np.ndarray) -> np.ndarray:
        return self.table[states]

    def unearned(self, states: np.ndarray) -> np.ndarray:
        return self.hope[states]

    def total(self, tokens: tuple[int, ...]) -> float:
        """What all of a hypothesis's tokens add, and stays if nothing follows."""
        pairs = zip((0, *tokens), tokens, strict=False)
        return float(sum(self.table[pair] for pair in pairs) - self.hope[(0, *tokens)[-1]])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


class RandomPredictor:
    """A recurrent network: its output and state depend on all tokens said."""

    def __init__(self, seed: int, vocabulary: int) -> None:
        random = np.random.default_rng(seed)
        self.embedding = random.normal(size=(vocabulary, SIZE))
        self.recurrence = random.normal(size=(SIZE, SIZE))

    def initial_state(self) -> Memory:
        return np.zeros((1, SIZE)), np.zeros((1, 2), np.int64)

    def step(self, tokens: np.ndarray, state: Memory) -> tuple[np.ndarray, Memory]:
        hidden, counts = state
        hidden = np.tanh(self.embedding[tokens] + hidden @ self.recurrence)
        return hidden, (hidden, counts + 1)


class RandomJoiner:
    """Any label can follow any other, at any frame; blanks are likelier."""

    def __init__(self, seed: int, vocabulary: int) -> None:
        random = np.random.default_rng(seed + 1)
        self.output = 3.0 * random.normal(size=(SIZE, vocabulary))
        self.bias = np.array([1.0, *[0.0] * (vocabulary - 1)])

    def log_probs(self, encoder: np.ndarray, predictor: np.ndarray) -> np.ndarray:
        return log_softmax(np.tanh(encoder + predictor) @ self.output + self.bias)

    def label_log_probs(self, predictor: np.ndarray) -> np.ndarray:
        return log_softmax(np.tanh(predictor) @ self.output[:, 1:])


def random_model(seed: int, vocabulary: int = 4, weight: float = 0.0) -> Transducer:
    return Transducer(RandomPredictor(seed, vocabulary), RandomJoiner(seed, vocabulary), weight)


def random_frames(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed + 2).normal(size=(count, SIZE)).astype(np.float32)


class CountingPredictor:
    """Tells how many tokens were said."""

    def initial_state(self) -> Memory:
        return (np.full((1, 1), -1.0),)

    def step(self, tokens: np.ndarray, state: Memory) -> tuple[np.ndarray, Memory]:
        return state[0] + 1.0, (state[0] + 1.0,)


@dataclass(frozen=True)
class ScriptedJoiner:
    """A frame (1,) holds how many tokens of the script should have been said by its end."""

    script: tuple[int, ...]
    vocabulary: int = 5

    def log_probs(self, encoder: np.ndarray, predictor: np.ndarray) -> np.ndarray:
        scores = np.full((len(encoder), self.vocabulary), np.log(0.1 / (self.vocabulary - 1)))
        for row, (due, said) in enumerate(zip(encoder[:, 0], predictor[:, 0], strict=True)):
            scores[row, self.script[int(said)] if said < due else 0] = np.log(0.9)
        return scores


def search_in_steps(search: Search, frames: np.ndarray, sizes: list[int]) -> TransducerState:
    state = search.initial_state()
    for size in [*sizes, len(frames)]:
        state, frames = search.step(state, frames[:size]), frames[size:]
    return state


def searches(model: Transducer) -> list[Search]:
    return [
        TransducerGreedySearch(model, 2),
        TransducerBeamSearch(model, 1, 2),
        TransducerBeamSearch(model, 3, 3, patience=5),
        TransducerBeamSearch(model, 6, 1),
        TransducerBeamSearch(model, 3, 2, patience=5, scorers=[Bigrams(0, 4)], vocabulary_size=4),
    ]


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
@settings(max_examples=15, deadline=None)
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


def same(a: TransducerState, b: TransducerState) -> bool:
    def plain(prefix: Prefix) -> tuple[object, ...]:
        memory = tuple(array.tolist() for array in prefix.memory)
        return prefix.tokens, prefix.times, prefix.log_probs, prefix.score, prefix.output.tolist(), memory

    return a.frames == b.frames and [*map(plain, a.prefixes)] == [*map(plain, b.prefixes)]


@given(st.integers(0, 99), st.integers(0, 14), st.lists(st.integers(0, 5), max_size=6))
@settings(max_examples=15, deadline=None)
def test_how_a_stream_is_split_makes_no_difference(seed: int, count: int, sizes: list[int]) -> None:
    frames = random_frames(seed, count)
    for search in searches(random_model(seed, weight=0.1 * (seed % 2))):
        assert same(search_in_steps(search, frames, sizes), search_in_steps(search, frames, []))


@given(st.integers(0, 99), st.lists(st.integers(0, 4), max_size=8))
@settings(max_examples=15, deadline=None)
def test_what_is_settled_stays_and_may_be_dropped(seed: int, sizes: list[int]) -> None:
    frames = random_frames(seed, 16)
    for search in searches(random_model(seed)):
        whole = search.hypothesis(search_in_steps(search, frames, []))
        expected = list(zip(whole.tokens, whole.times, strict=True))
        state, rest, taken = search.initial_state(), frames, []
        for size in [*sizes, len(frames)]:
            state, rest = search.step(state, rest[:size]), rest[size:]
            best, settled = search.hypothesis(state), search.settled(state)
            taken += list(zip(best.tokens, best.times, strict=True))[:settled]
            assert taken == expected[: len(taken)]
            state = search.drop(state, settled)
        best = search.hypothesis(state)
        assert [*taken, *zip(best.tokens, best.times, strict=True)] == expected
        assert best.score == whole.score
        assert state.frames == len(frames)


class TwinJoiner:
    """The first frame says 1 or 2, nearly alike; then there is silence."""

    def log_probs(self, encoder: np.ndarray, predictor: np.ndarray) -> np.ndarray:
        talks = (encoder[:, :1] > 0) & (predictor[:, :1] == 0)
        return np.log(np.where(talks, [[0.02, 0.5, 0.48]], [[0.98, 0.01, 0.01]]))

    def label_log_probs(self, predictor: np.ndarray) -> np.ndarray:
        return np.tile(np.log([0.9, 0.1]), (len(predictor), 1))


def test_a_token_settles_when_it_is_old_enough() -> None:
    search = TransducerBeamSearch(Transducer(CountingPredictor(), TwinJoiner()), beam=2, patience=7)
    state = search.step(search.initial_state(), np.array([[1.0]], np.float32))
    silence = np.zeros((1, 1), np.float32)
    for _ in range(6):
        state = search.step(state, silence)
        assert {prefix.tokens for prefix in state.prefixes} == {(1,), (2,)}
        assert search.settled(state) == 0
    assert search.settled(search.step(state, silence)) == 1
    patient = TransducerBeamSearch(search.model, beam=2, patience=1000)
    assert patient.settled(patient.step(state, np.zeros((90, 1), np.float32))) == 0


def prefix(*pairs: tuple[int, int]) -> Prefix:
    """Tokens at their times, as the predictor that counts them remembers them."""
    tokens, times = (tuple(column) for column in zip(*pairs, strict=True)) if pairs else ((), ())
    said = np.full(1, float(len(pairs)))
    return Prefix(tokens, times, (0.0,) * len(pairs), -float(len(pairs)), said, (said,))


def test_tokens_alike_at_other_times_are_not_settled() -> None:
    search = TransducerBeamSearch(Transducer(CountingPredictor(), TwinJoiner()))
    early, late = prefix((1, 0), (2, 3), (1, 4)), prefix((1, 0), (2, 4))
    assert search.settled(TransducerState(9, (early, late))) == 1
    assert search.settled(TransducerState(9, (early, prefix((1, 0), (2, 3))))) == 2
    assert search.settled(TransducerState(9, (early,))) == 3
    assert search.settled(TransducerState(9, (early, prefix()))) == 0


def test_tokens_alike_at_other_times_settle_when_they_are_old_enough() -> None:
    search = TransducerBeamSearch(Transducer(CountingPredictor(), TwinJoiner()), beam=2, patience=5)
    state = TransducerState(4, (prefix((1, 1)), prefix((1, 2), (2, 3))))
    state = search.step(state, np.zeros((2, 1), np.float32))
    assert search.settled(state) == 0
    assert search.settled(search.step(state, np.zeros((1, 1), np.float32))) == 1


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


def test_a_step_leaves_the_old_state_as_it_was() -> None:
    frames = random_frames(1, 9)
    for search in searches(random_model(1)):
        before = search_in_steps(search, frames[:4], [])
        search.step(before, frames[4:])
        search.drop(before, search.settled(before))
        assert same(before, search_in_steps(search, frames[:4], []))
        assert same(search.step(before, frames[:0]), before)


def test_before_the_first_frame_nothing_was_said() -> None:
    for search in searches(random_model(0)):
        state = search.initial_state()
        assert search.hypothesis(state) == Hypothesis((), (), 0.0, ())
        assert search.settled(state) == 0
