"""What can be trained on, and what is said about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from leanformer.data.batching import BatchConfig
from leanformer.data.loader import BatchStream, Dataset
from leanformer.data.waveforms import Waveforms
from leanformer.errors import DataError
from leanformer.features.spec import FeatureSpec
from leanformer.train.objective import ctc_loss
from leanformer.train.summary import count_usable, data_identity, encoder_frames, frames_needed

SECOND = 16_000


def dataset(seconds: list[float], tokens: list[list[int]]) -> Dataset:
    """Silent utterances at speeds 1 and 2."""
    lengths = np.asarray([[round(s * SECOND), round(s * SECOND / 2)] for s in seconds], np.int64)
    samples = tuple(np.zeros(int(column.sum()), np.int16) for column in lengths.T)
    starts = np.cumsum(lengths, axis=0) - lengths
    places = np.concatenate([np.zeros((len(seconds), 1), np.int64), starts], axis=1)
    ids = tuple(f"c/{i}" for i in range(len(seconds)))
    waveforms = Waveforms(ids, (1.0, 2.0), lengths, (), (samples,), places)
    return Dataset(waveforms, ("",) * len(ids), tuple(np.asarray(row, np.int64) for row in tokens))


def test_each_utterance_is_counted_once() -> None:
    tokens = [[1, 2], [1] * 7, [1, 2] * 10, [1, 2], [1, 2, 3] * 3]
    stream = BatchStream(dataset([1.0, 1.0, 1.0, 0.2, 1.0], tokens), BatchConfig(min_seconds=0.5))
    usable = count_usable(stream, 8)  # 13 frames in a second, 6 at double speed
    assert (usable.total, usable.outside_limits, usable.crowded, usable.crowded_when_fast) == (5, 1, 1, 2)
    assert usable.example == "c/2"
    assert usable.seconds == pytest.approx(4.2)


def test_nothing_usable_is_an_error() -> None:
    stream = BatchStream(dataset([1.0, 0.2], [[1, 2] * 10, [1]]), BatchConfig(min_seconds=0.5))
    with pytest.raises(
        DataError, match=r"none of 2 training utterances.*1 are outside 0.5 to 36 s, 1 have more tokens"
    ):
        count_usable(stream, 8)


@pytest.mark.parametrize("target", [[1, 2, 3], [1, 1], [2, 2, 2, 1, 1], []])
def test_frames_needed_are_what_ctc_needs(target: list[int]) -> None:
    needed = frames_needed(np.asarray(target, np.int64))
    log_probs = torch.randn(1, 9, 4).log_softmax(dim=-1)
    for frames in range(max(1, needed - 1), needed + 2):
        loss = ctc_loss(
            log_probs, torch.tensor([frames]), torch.tensor([target or [0]]), torch.tensor([len(target)])
        )
        assert (loss > 0).item() == (frames >= needed and bool(target))


@pytest.mark.parametrize("samples", [0, 399, 400, 1600, 16_000, 123_457])
def test_encoder_frames_are_those_of_the_features(samples: int) -> None:
    frames = encoder_frames(np.asarray([samples]), 8)
    assert frames.tolist() == [-(-FeatureSpec().frames(samples) // 8)]


def test_other_data_has_another_identity() -> None:
    one = dataset([1.0, 2.0], [[1], [2]])
    stream = BatchStream(one, BatchConfig())
    assert data_identity(stream) == data_identity(BatchStream(dataset([1.0, 2.0], [[1], [2]]), BatchConfig()))
    for other in (dataset([1.0, 2.1], [[1], [2]]), replace(one, targets=(one.targets[1], one.targets[0]))):
        assert data_identity(BatchStream(other, BatchConfig())) != data_identity(stream)
