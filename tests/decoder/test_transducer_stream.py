"""Searches over a transducer in a stream: any split gives the same, what is settled stays, states are values."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from transducer_models import (
    CountingPredictor,
    TwinJoiner,
    prefix,
    random_frames,
    random_model,
    search_in_steps,
    searches,
)

from leanformer.decoder.hypothesis import Hypothesis
from leanformer.decoder.transducer import Prefix, Transducer, TransducerState
from leanformer.decoder.transducer_beam import TransducerBeamSearch


def same(a: TransducerState, b: TransducerState) -> bool:
    def plain(prefix: Prefix) -> tuple[object, ...]:
        memory = tuple(array.tolist() for array in prefix.memory)
        return prefix.tokens, prefix.times, prefix.log_probs, prefix.score, prefix.output.tolist(), memory

    return a.frames == b.frames and [*map(plain, a.prefixes)] == [*map(plain, b.prefixes)]


@given(st.integers(0, 99), st.integers(0, 14), st.lists(st.integers(0, 5), max_size=6))
@settings(max_examples=15)
def test_how_a_stream_is_split_makes_no_difference(seed: int, count: int, sizes: list[int]) -> None:
    frames = random_frames(seed, count)
    for search in searches(random_model(seed, weight=0.1 * (seed % 2))):
        assert same(search_in_steps(search, frames, sizes), search_in_steps(search, frames, []))


@given(st.integers(0, 99), st.lists(st.integers(0, 4), max_size=8))
@settings(max_examples=15)
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
