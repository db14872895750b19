"""How many calls of the model a step of the batch is, and with how many rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from batch_speakers import RATE, drain, watch

from leanformer.errors import ConfigError
from leanformer.runtime import steps
from leanformer.runtime.batch import Batch
from leanformer.runtime.recognizer import Recognizer

Noise = Callable[[float], np.ndarray]


def test_states_stack_and_come_apart() -> None:
    states = [(np.full((1, 2), float(row)), np.full((1, 3, 4), row + 0.5)) for row in range(3)]
    whole = steps.stack(states)
    assert [tensor.shape for tensor in whole] == [(3, 2), (3, 3, 4)]
    for before, after in zip(states, steps.unstack(whole), strict=True):
        for tensor, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(tensor, other)
            assert other.base is None  # else a stream that pauses keeps the memory of all


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


def test_a_batch_of_no_rows() -> None:
    with pytest.raises(ConfigError, match="max_rows = 0: a batch needs at least 1"):
        Batch(0)
