"""Many streams stepped together say what each says alone, whoever joins, leaves, lags behind or fails."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leanformer.decoder.ctc import GreedySearch
from leanformer.errors import ConfigError, LeanformerError
from leanformer.runtime import steps
from leanformer.runtime.batch import Batch
from leanformer.runtime.endpoint import Endpointing
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.session import Session
from leanformer.runtime.stream import Stream
from leanformer.runtime.transcript import Transcript

RATE = 16_000
CHUNK = RATE * 320 // 1000
SPEAKERS = 4
Noise = Callable[[float], np.ndarray]


@pytest.fixture(scope="module", params=["one pass", "two passes"])
def recognizer(request: pytest.FixtureRequest, bundle_folder: Path, cascade_folder: Path) -> Recognizer:
    return Recognizer.load(bundle_folder if request.param == "one pass" else cascade_folder)


@pytest.fixture(scope="module")
def clips(noise: Noise) -> list[np.ndarray]:
    """What each speaker says: no two of them as long, or loud at the same times."""
    pauses = [np.zeros(int(seconds * RATE), np.float32) for seconds in (0.0, 0.25, 0.5, 1.3)]
    return [
        np.concatenate([pause, noise(0.61 + 0.3 * number), pause, noise(0.7)])
        for number, pause in enumerate(pauses)
    ]


def options(speaker: int) -> dict[str, bool]:
    """The last speaker's stream does without the second pass."""
    return {"first_pass_only": speaker == SPEAKERS - 1}


def alone(recognizer: Recognizer, clips: Sequence[np.ndarray]) -> list[Transcript]:
    found = []
    for speaker, clip in enumerate(clips):
        stream = recognizer.stream(**options(speaker))
        stream.accept_waveform(clip, RATE)
        found.append(stream.finish())
    return found


def drain(batch: Batch) -> None:
    while batch.step():
        pass


def of_all(batch: Batch, recognizer: Recognizer, clips: Sequence[np.ndarray]) -> list[Stream]:
    """A stream for each clip, which has accepted all of it."""
    streams = [recognizer.stream(batch=batch, **options(speaker)) for speaker in range(len(clips))]
    for stream, clip in zip(streams, clips, strict=True):
        stream.accept_waveform(clip, RATE)
    return streams


@dataclass
class Pair:
    """A stream in the batch, its twin alone, and the samples that neither has heard."""

    together: Stream
    alone: Stream
    rest: np.ndarray

    def hear(self, size: int) -> None:
        for stream in (self.together, self.alone):
            stream.accept_waveform(self.rest[:size], RATE)
        self.rest = self.rest[size:]


# Who acts, with how many samples, and whether the batch then steps, once or until nobody waits, or the stream leaves.
ACTIONS = st.lists(
    st.tuples(
        st.integers(0, SPEAKERS - 1),
        st.integers(1, 12_000),
        st.sampled_from(["queue", "queue", "step", "step", "drain", "drain", "end", "close"]),
    ),
    min_size=4,
    max_size=16,
)


@given(actions=ACTIONS, max_rows=st.integers(1, SPEAKERS))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whoever_joins_and_leaves_each_is_heard_as_alone(
    recognizer: Recognizer,
    clips: list[np.ndarray],
    actions: list[tuple[int, int, str]],
    max_rows: int,
) -> None:
    batch, pairs = Batch(max_rows), dict[int, Pair]()
    for speaker, size, action in actions:
        if speaker not in pairs:  # joins now
            pairs[speaker] = Pair(
                recognizer.stream(batch=batch, **options(speaker)),
                recognizer.stream(**options(speaker)),
                clips[speaker],
            )
        pairs[speaker].hear(size)
        if action == "step":
            batch.step()
        elif action == "drain":
            drain(batch)
            for pair in pairs.values():
                assert pair.together.take_events() == pair.alone.take_events()
                assert not pair.together.waiting
        elif action in (
            "end",
            "close",
        ):  # the same speaker comes again later, and is heard from the beginning
            pair = pairs.pop(speaker)
            if action == "end":
                assert pair.together.finish() == pair.alone.finish()
            else:
                pair.together.close()
    for pair in pairs.values():
        pair.hear(len(pair.rest))
        pair.together.end()
    for pair in reversed(pairs.values()):
        assert pair.together.finish() == pair.alone.finish()
    assert batch.step() == 0


def test_the_text_is_not_empty_nor_the_same(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    # The control of the equality test.
    assert len({transcript.text for transcript in alone(recognizer, clips)} - {""}) == SPEAKERS


def test_states_that_come_back_in_another_order_change_the_text(
    recognizer: Recognizer, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other control.
    expected, unstack = alone(recognizer, clips), steps.unstack
    monkeypatch.setattr(steps, "unstack", lambda state: unstack(state)[::-1])
    assert [stream.finish() for stream in of_all(Batch(), recognizer, clips)] != expected


def test_states_stack_and_come_apart() -> None:
    states = [(np.full((1, 2), float(row)), np.full((1, 3, 4), row + 0.5)) for row in range(3)]
    whole = steps.stack(states)
    assert [tensor.shape for tensor in whole] == [(3, 2), (3, 3, 4)]
    for before, after in zip(states, steps.unstack(whole), strict=True):
        for tensor, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(tensor, other)
            assert other.base is None  # else a stream that pauses keeps the memory of all


class Watched(Session):
    """Remembers how many rows each call had; raises what it is told to."""

    rows: list[int]
    raises: Callable[[np.ndarray], BaseException | None] = staticmethod(lambda frames: None)

    def step(self, frames, lengths, state, reads):  # type: ignore[no-untyped-def]
        return self.note(frames) or super().step(frames, lengths, state, reads)

    def step_encoded(self, frames, lengths, state):  # type: ignore[no-untyped-def]
        return self.note(frames) or super().step_encoded(frames, lengths, state)

    def note(self, frames: np.ndarray) -> None:
        if (error := self.raises(frames)) is not None:
            raise error
        self.rows = [*getattr(self, "rows", []), len(frames)]


def watch(folder: Path) -> tuple[Recognizer, Watched, Watched | None]:
    recognizer = Recognizer.load(folder)
    recognizer._session = first = Watched(recognizer._session.bundle)
    second = None
    if recognizer._second is not None:
        recognizer._second = second = Watched(recognizer._second.bundle, which="second")
    return recognizer, first, second


def test_a_step_is_one_call_of_each_pass(cascade_folder: Path, noise: Noise) -> None:
    recognizer, first, second = watch(cascade_folder)
    assert second is not None
    batch = Batch(max_rows=4)
    streams = [recognizer.stream(batch=batch) for _ in range(6)]
    for number, stream in enumerate(streams):
        # Two chunks of features, the last one's window 15 ms longer; of the last stream, less than one chunk.
        stream.accept_waveform(noise(0.66 if number < 5 else 0.3), RATE)
    assert (batch.step(), first.rows, getattr(second, "rows", [])) == (5, [3, 2], [])
    assert (batch.step(), first.rows, second.rows) == (5, [3, 2, 3, 2], [3, 2])
    assert batch.step() == 0
    assert not any(stream.waiting for stream in streams)
    streams[5].end()
    assert batch.step() == 1
    assert first.rows[4:] == [1]


def test_a_stream_by_itself_is_a_batch_of_one(bundle_folder: Path, noise: Noise) -> None:
    recognizer, first, _ = watch(bundle_folder)
    stream = recognizer.stream()
    stream.accept_waveform(noise(1.0), RATE)
    assert not stream.waiting
    assert first.rows == [1, 1, 1]


def test_recognisers_of_the_same_weights_share_calls(bundle_folder: Path, noise: Noise) -> None:
    recognizer, first, _ = watch(bundle_folder)
    helped = Recognizer.load(bundle_folder, beam=4)
    helped._session = first
    batch, samples = Batch(), noise(1.5)
    made = (
        (recognizer, ()),
        (helped, ()),
        (helped, ("the cat", ("rat", 9.0))),
        (helped, (("hat", 9.0),)),
    )
    streams = [one.stream(hotwords=hotwords, batch=batch) for one, hotwords in made]
    for stream in streams:
        stream.accept_waveform(samples, RATE)
    drain(batch)
    assert set(first.rows) == {4}
    for (one, hotwords), stream in zip(made, streams, strict=True):
        single = one.stream(hotwords=hotwords)
        single.accept_waveform(samples, RATE)
        assert stream.finish() == single.finish()


class Loudness:
    """A voice detector: speech is what is loud."""

    sample_rate, window = RATE, 512

    def __call__(self, samples: np.ndarray) -> float:
        return float(np.abs(samples).mean() > 0.01)


def test_endpoints_are_those_of_a_stream_alone(recognizer: Recognizer, speech: np.ndarray) -> None:
    batch, how = Batch(), Endpointing(voice=Loudness)
    streams = [recognizer.stream(endpoint=how, batch=batch) for _ in range(3)]
    for number, stream in enumerate(streams):
        stream.accept_waveform(np.roll(speech, -5_000 * number), RATE)
        stream.end()
    drain(batch)
    for number, stream in enumerate(streams):
        assert not stream.waiting
        single = recognizer.stream(endpoint=how)
        single.accept_waveform(np.roll(speech, -5_000 * number), RATE)
        single.finish()
        events = stream.take_events()
        assert events == single.take_events()
        assert len(events) > 2


class Broken(GreedySearch):
    """A search that fails at its second step."""

    def step(self, state: Any, log_probs: Any) -> Any:
        if state.frames:
            raise ZeroDivisionError("of this search")
        return super().step(state, log_probs)


def test_an_error_of_one_search_is_that_streams_own(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    batch = Batch()
    bad = recognizer.with_search(Broken()).stream(batch=batch)
    good = of_all(batch, recognizer, clips)
    bad.accept_waveform(clips[0], RATE)
    drain(batch)
    for call in (lambda: bad.accept_waveform(clips[0], RATE), bad.end, bad.finish):
        with pytest.raises(ZeroDivisionError, match="of this search"):
            call()
    assert not bad.waiting
    assert [stream.finish() for stream in good] == alone(recognizer, clips)


def test_a_call_that_fails_for_one_row_is_made_again_for_the_others(
    bundle_folder: Path, clips: list[np.ndarray], noise: Noise
) -> None:
    recognizer, first, _ = watch(bundle_folder)
    expected = alone(recognizer, clips)
    first.raises = lambda frames: RuntimeError("too loud") if frames.max() > 30 else None
    batch = Batch()
    streams = of_all(batch, recognizer, clips)
    loud = recognizer.stream(batch=batch)
    loud.accept_waveform(30 * noise(1.0), RATE)
    drain(batch)
    with pytest.raises(RuntimeError, match="too loud"):
        loud.finish()
    assert [stream.finish() for stream in streams] == expected


def test_ctrl_c_loses_nothing(bundle_folder: Path, clips: list[np.ndarray]) -> None:
    recognizer, first, _ = watch(bundle_folder)
    expected = alone(recognizer, clips)
    batch = Batch()
    streams = of_all(batch, recognizer, clips)
    batch.step()
    first.raises = lambda frames: KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        batch.step()
    first.raises = lambda frames: None
    assert [stream.finish() for stream in streams] == expected


def test_a_stream_that_nobody_holds_is_forgotten(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    batch = Batch()
    kept, abandoned = of_all(batch, recognizer, clips[:2])
    assert batch.step() == 2
    del abandoned
    gc.collect()
    assert batch.step() == 1
    assert kept.finish() == alone(recognizer, clips[:1])[0]


def test_a_closed_stream_is_heard_no_further(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    batch = Batch()
    stays, leaves = of_all(batch, recognizer, clips[:2])
    batch.step()
    leaves.close()
    assert not leaves.waiting
    assert batch.step() == 1
    with pytest.raises(LeanformerError, match="finished"):
        leaves.accept_waveform(clips[0], RATE)
    assert leaves.finish().segments == ()
    assert stays.finish() == alone(recognizer, clips[:1])[0]


def test_the_callers_array_may_be_filled_again(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    batch = Batch()
    stream, block = recognizer.stream(batch=batch), np.zeros(1_000, np.float32)
    whole = clips[0][: len(clips[0]) // 1_000 * 1_000]
    for piece in whole.reshape(-1, 1_000):
        block[:] = piece
        stream.accept_waveform(block, RATE)
    assert stream.finish() == alone(recognizer, [whole])[0]


def test_a_batch_of_no_rows() -> None:
    with pytest.raises(ConfigError, match="max_rows = 0: a batch needs at least 1"):
        Batch(0)
