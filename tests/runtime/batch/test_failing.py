"""What fails in a batch fails for one stream alone, and Ctrl-C loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_speakers import RATE, alone, drain, of_all, watch

from leanformer.decoder.ctc import GreedySearch
from leanformer.runtime.batch import Batch
from leanformer.runtime.recognizer import Recognizer

Noise = Callable[[float], np.ndarray]


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
