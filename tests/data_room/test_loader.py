import dataclasses
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from leanformer.data.batching import BatchConfig
from leanformer.data.corpora import load_corpus
from leanformer.data.loader import BatchStream, Dataset, TrainingBatch, at_speed, dev_batches, make_dataset
from leanformer.data.noise import NoiseConfig
from leanformer.data.waveforms import WaveformCache
from leanformer.errors import DataError
from leanformer.text.tokenizer import Tokenizer

CONFIG = BatchConfig(batch_seconds=4.0, buckets=3)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> WaveformCache:
    return WaveformCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def make(small_corpus: Path, cache: WaveformCache, tokenizer: Tokenizer) -> Callable[..., Dataset]:
    """A dataset as a fresh start of a process would make it."""

    def dataset(**arguments: object) -> Dataset:
        cuts = load_corpus(small_corpus, "train")
        return make_dataset(cuts, cache.open(cuts, speeds=(1.0, 0.9, 1.1)), tokenizer, **arguments)

    return dataset


def same(one: TrainingBatch, other: TrainingBatch) -> bool:
    for field in dataclasses.fields(TrainingBatch):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if not (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b):
            return False
    return True


def test_a_fresh_start_gives_the_same_batches(make: Callable[..., Dataset]) -> None:
    first = BatchStream(make(), CONFIG, NoiseConfig(), seed=5)
    went_on = list(first.iterate(0, 3 * len(first.epoch(0))))
    for step in (7, 2, len(went_on) - 1):
        assert same(BatchStream(make(), CONFIG, NoiseConfig(), seed=5).batch(step), went_on[step])
    resumed = BatchStream(make(), CONFIG, NoiseConfig(), seed=5).iterate(4, 9)
    assert all(same(one, other) for one, other in zip(resumed, went_on[4:9], strict=True))
    assert not same(BatchStream(make(), CONFIG, NoiseConfig(), seed=6).batch(0), went_on[0])


def test_the_same_utterance_is_disturbed_anew_each_epoch(make: Callable[..., Dataset]) -> None:
    stream = BatchStream(make(), BatchConfig(batch_seconds=4.0, buckets=1), NoiseConfig(noise=1.0), seed=0)
    heard = []
    for step in range(stream.first_step(6)):
        batch = stream.batch(step)
        row = batch.ids.index("tones/u09") if "tones/u09" in batch.ids else None
        if row is not None:
            heard.append((int(batch.lengths[row]), batch.waveforms[row].sum().item()))
    assert len(heard) == len(set(heard)) == 6


def test_steps_run_through_epochs(make: Callable[..., Dataset]) -> None:
    stream = BatchStream(make(), BatchConfig(batch_seconds=4.0, schedule=((2, 8.0),), buckets=3))
    starts = [stream.first_step(epoch) for epoch in range(5)]
    assert starts == np.cumsum([0, *(len(stream.epoch(epoch)) for epoch in range(4))]).tolist()
    fresh = BatchStream(make(), stream.config)
    assert fresh.locate(starts[3]) == (3, 0)
    assert fresh.locate(starts[3] - 1) == (2, len(stream.epoch(2)) - 1)
    for start, stop in pairwise(starts):
        seen = [name for step in range(start, stop) for name in stream.batch(step).ids if name]
        assert sorted(seen) == sorted(stream.dataset.waveforms.ids)


def test_rows_hold_audio_targets_and_zeros(make: Callable[..., Dataset], tokenizer: Tokenizer) -> None:
    dataset = make()
    texts = dict(zip(dataset.waveforms.ids, dataset.texts, strict=True))
    stream = BatchStream(dataset, BatchConfig(batch_seconds=9.0, buckets=2))
    empty = 0
    for step in range(len(stream.epoch(0))):
        batch = stream.batch(step)
        assert batch.waveforms.dtype == torch.float32
        assert batch.lengths.dtype == batch.targets.dtype == batch.target_lengths.dtype == torch.int64
        assert batch.phones is None
        for row, name in enumerate(batch.ids):
            length, count = int(batch.lengths[row]), int(batch.target_lengths[row])
            assert not batch.waveforms[row, length:].any()
            assert not batch.targets[row, count:].any()
            if not name:
                empty += 1
                assert length == count == 0
                continue
            assert batch.waveforms[row].abs().max() == pytest.approx(0.5, abs=0.02)
            assert tokenizer.decode(batch.targets[row, :count].tolist()) == texts[name]
    assert empty


def test_validation_is_plain_and_whole(make: Callable[..., Dataset]) -> None:
    dataset = make()
    batches = list(dev_batches(dataset, CONFIG))
    assert sorted(name for batch in batches for name in batch.ids if name) == sorted(dataset.waveforms.ids)
    for batch in batches:
        for row, name in enumerate(batch.ids):
            if name:
                samples = dataset.waveforms.read(dataset.waveforms.ids.index(name))
                np.testing.assert_allclose(batch.waveforms[row, : len(samples)], samples / 32768, atol=1e-7)


def test_an_exception_of_the_thread_reaches_the_consumer(
    make: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = BatchStream(make(), CONFIG)
    whole = stream.batch

    def failing(step: int) -> TrainingBatch:
        if step == 3:
            raise DataError("the disk went away")
        return whole(step)

    monkeypatch.setattr(stream, "batch", failing)
    batches = stream.iterate(0, 10)
    for _ in range(3):
        next(batches)
    with pytest.raises(DataError, match="the disk went away"):
        next(batches)
    assert not any(thread.name == "batches" for thread in threading.enumerate())


def test_leaving_early_ends_the_thread(make: Callable[..., Dataset]) -> None:
    batches = BatchStream(make(), CONFIG).iterate(0, 1000)
    next(batches)
    batches.close()
    assert not any(thread.name == "batches" for thread in threading.enumerate())


def test_phones_follow_the_speed(make: Callable[..., Dataset]) -> None:
    """The second half of each utterance is another phone, at any speed."""
    plain = make()
    halves = {}
    for name, length in zip(plain.waveforms.ids, plain.waveforms.lengths[:, 0], strict=True):
        frames = int(length) // 160
        halves[name] = np.where(np.arange(frames) < frames // 2, 3, 9).astype(np.uint8)
    del halves["tones/u04"]
    stream = BatchStream(make(phones=halves), CONFIG, seed=1)
    speeds = set()
    for step in range(len(stream.epoch(0))):
        batch = stream.batch(step)
        assert batch.phones is not None
        assert batch.phones.shape[1] == 1 + (batch.waveforms.shape[1] - 400) // 160
        for row, name in enumerate(batch.ids):
            labels = batch.phones[row].numpy()
            frames = 1 + (int(batch.lengths[row]) - 400) // 160
            if name in ("", "tones/u04"):
                assert not labels.any()
                continue
            speeds.add(int(stream.epoch(0).batches[step].speeds[row]))
            assert set(labels[:frames]) == {3, 9}
            assert not labels[frames:].any()
            half = int(batch.lengths[row]) / 320
            assert np.sum(labels == 3) == pytest.approx(half, abs=2)
    assert speeds == {0, 1, 2}


def test_labels_at_another_speed() -> None:
    labels = np.repeat(np.arange(1, 11, dtype=np.uint8), 10)
    np.testing.assert_array_equal(at_speed(labels, 1.0, 100), labels)
    np.testing.assert_array_equal(at_speed(labels, 2.0, 50), labels[1::2])
    assert at_speed(labels, 0.5, 250).tolist()[:40:10] == [1, 1, 2, 2]
    assert not at_speed(labels, 0.5, 250)[200:].any()
    assert not at_speed(labels[:0], 1.0, 5).any()


def test_a_dataset_without_a_usable_utterance_is_refused(make: Callable[..., Dataset]) -> None:
    with pytest.raises(DataError, match=r"none of 10 utterances lasts 100\.0 to"):
        BatchStream(make(), BatchConfig(min_seconds=100.0))


def test_waveforms_of_other_cuts_are_refused(
    small_corpus: Path, cache: WaveformCache, tokenizer: Tokenizer
) -> None:
    dev, train = load_corpus(small_corpus, "dev"), load_corpus(small_corpus, "train")
    with pytest.raises(DataError, match="tones/u00: a waveform without a cut"):
        make_dataset(dev, cache.open(train, speeds=(1.0, 0.9, 1.1)), tokenizer)
