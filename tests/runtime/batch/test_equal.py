"""Many streams stepped together say what each says alone, whoever joins, leaves or lags behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from batch_speakers import RATE, SPEAKERS, alone, drain, of_all, options
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leanformer.runtime import steps
from leanformer.runtime.batch import Batch
from leanformer.runtime.endpoint import Endpointing
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.stream import Stream


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
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_the_callers_array_may_be_filled_again(recognizer: Recognizer, clips: list[np.ndarray]) -> None:
    batch = Batch()
    stream, block = recognizer.stream(batch=batch), np.zeros(1_000, np.float32)
    whole = clips[0][: len(clips[0]) // 1_000 * 1_000]
    for piece in whole.reshape(-1, 1_000):
        block[:] = piece
        stream.accept_waveform(block, RATE)
    assert stream.finish() == alone(recognizer, [whole])[0]
