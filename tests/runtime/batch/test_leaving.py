"""Streams that leave a batch, by themselves or because nobody holds them."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from batch_speakers import RATE, alone, of_all

from leanformer.errors import LeanformerError
from leanformer.runtime.batch import Batch
from leanformer.runtime.recognizer import Recognizer


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
