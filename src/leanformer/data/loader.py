"""Batches by step number: `BatchStream.batch(step)` needs no history, so a resumed run sees the same data.

Everything random in a batch comes from (seed, epoch, utterance). A thread prepares batches ahead of the
trainer.
"""

import bisect
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from lhotse import CutSet
from numpy.typing import NDArray
from torch import Tensor

from leanformer.data.batching import EMPTY, Batch, BatchConfig, EpochPlan, plan_epoch, plan_in_order
from leanformer.data.noise import NoiseConfig, disturb
from leanformer.data.waveforms import Waveforms
from leanformer.errors import DataError

_WINDOW_SAMPLES, _SHIFT_SAMPLES = 400, 160
_TARGETS_MULTIPLE = 16
_INT16 = np.float32(1.0 / 32768.0)


class Encoder(Protocol):
    """What the loader needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of a transcript."""


@dataclass(frozen=True)
class TrainingBatch:
    """One batch, padded; rows without an utterance have length 0, no targets and the id "".

    Attributes:
        waveforms: (B, S) float32 in [-1, 1].
        lengths: (B,) int64 samples.
        targets: (B, U) int64 token ids, padded with 0.
        target_lengths: (B,) int64.
        ids: B utterance ids.
        phones: (B, T) int64 phone of each 10 ms frame, 0 where unknown; None without alignments.
    """

    waveforms: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    ids: tuple[str, ...]
    phones: Tensor | None = None


@dataclass(frozen=True)
class Dataset:
    """Waveforms with their targets, row by row.

    `phones` maps an utterance id to its phones at 10 ms, at speed 1.
    """

    waveforms: Waveforms
    texts: tuple[str, ...]
    targets: tuple[NDArray[np.int64], ...]
    phones: Mapping[str, NDArray[np.uint8]] | None = None

    def __len__(self) -> int:
        return len(self.texts)


def make_dataset(
    cuts: CutSet,
    waveforms: Waveforms,
    tokenizer: Encoder,
    phones: Mapping[str, NDArray[np.uint8]] | None = None,
) -> Dataset:
    """Pair waveforms with the token ids of their transcripts.

    Raises TokenizerError for a transcript that cannot be spelled (read the corpus with `unspellable` to skip
    these), DataError if a waveform's id is not among the cuts.
    """
    texts = {cut.id: cut.supervisions[0].text or "" for cut in cuts}
    stranger = next((name for name in waveforms.ids if name not in texts), None)
    if stranger is not None:
        raise DataError(f"{stranger}: a waveform without a cut; open the cache with the same cuts")
    ordered = tuple(texts[name] for name in waveforms.ids)
    targets = tuple(np.asarray(tokenizer.encode(text), np.int64) for text in ordered)
    return Dataset(waveforms, ordered, targets, phones)


class BatchStream:
    """An endless, reproducible stream of training batches over a dataset.

    Args:
        dataset: what to train on.
        config: how to batch.
        noise: how to disturb the waveforms; None leaves them as they are.
        seed: of everything random.
    """

    def __init__(
        self, dataset: Dataset, config: BatchConfig, noise: NoiseConfig | None = None, seed: int = 0
    ) -> None:
        self.dataset, self.config, self.noise, self.seed = dataset, config, noise, seed
        self._ends: list[int] = []  # global step after the last batch of each epoch known so far
        self._plan = lru_cache(maxsize=4)(self._make_plan)
        self._lock = threading.Lock()
        if not len(self.epoch(0)):
            raise DataError(
                f"none of {len(dataset)} utterances lasts {config.min_seconds} to {config.max_seconds} s; "
                "change min_seconds or max_seconds of the recipe's batch"
            )

    def _make_plan(self, epoch: int) -> EpochPlan:
        return plan_epoch(self.dataset.waveforms.lengths, self.config, self.seed, epoch)

    def epoch(self, epoch: int) -> EpochPlan:
        """Return the plan of an epoch."""
        with self._lock:
            return self._plan(epoch)

    def locate(self, step: int) -> tuple[int, int]:
        """Return (epoch, batch within it) of a global step; epochs differ in their number of batches."""
        while not self._ends or step >= self._ends[-1]:
            with self._lock:
                known = len(self._ends)
                self._ends.append((self._ends[-1] if known else 0) + len(self._plan(known)))
        epoch = bisect.bisect_right(self._ends, step)
        return epoch, step - (self._ends[epoch - 1] if epoch else 0)

    def first_step(self, epoch: int) -> int:
        """Return the global step at which an epoch begins."""
        while len(self._ends) < epoch:
            self.locate(self._ends[-1] if self._ends else 0)
        return self._ends[epoch - 1] if epoch else 0

    def batch(self, step: int) -> TrainingBatch:
        """Return the batch of a global step: a pure function of the step."""
        epoch, index = self.locate(step)
        return _assemble(self.dataset, self.epoch(epoch).batches[index], self.noise, (self.seed, epoch))

    def iterate(self, start_step: int, stop_step: int, ahead: int = 4) -> Iterator[TrainingBatch]:
        """Yield the batches of steps start..stop-1; a thread keeps up to `ahead` of them ready.

        An exception in the thread is raised here, at the step that caused it.
        """
        ready: queue.Queue[TrainingBatch | BaseException] = queue.Queue(max(1, ahead))
        stopped = threading.Event()
        thread = threading.Thread(
            target=self._produce,
            args=(range(start_step, stop_step), ready, stopped),
            name="batches",
            daemon=True,
        )
        thread.start()
        try:
            for _ in range(start_step, stop_step):
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stopped.set()
            thread.join()

    def _produce(
        self,
        steps: Sequence[int],
        ready: "queue.Queue[TrainingBatch | BaseException]",
        stopped: threading.Event,
    ) -> None:
        for step in steps:
            item: TrainingBatch | BaseException
            try:
                item = self.batch(step)
            except BaseException as error:  # handed over, whatever it is
                item = error
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if stopped.is_set() or isinstance(item, BaseException):
                return


def dev_batches(dataset: Dataset, config: BatchConfig) -> Iterator[TrainingBatch]:
    """Yield every utterance once, at speed 1 (the first), undisturbed, by length, in few shapes."""
    for batch in plan_in_order(dataset.waveforms.lengths[:, :1], config).batches:
        yield _assemble(dataset, batch, None, (0, 0))


def _assemble(
    dataset: Dataset, batch: Batch, noise: NoiseConfig | None, seeds: tuple[int, int]
) -> TrainingBatch:
    source, count = dataset.waveforms, len(batch.rows)
    rows = [int(row) for row in batch.rows if row != EMPTY]
    longest = max(len(dataset.targets[row]) for row in rows)
    width = -(-max(1, longest) // _TARGETS_MULTIPLE) * _TARGETS_MULTIPLE
    waveforms = np.zeros((count, batch.samples), np.float32)
    lengths, target_lengths = np.zeros(count, np.int64), np.zeros(count, np.int64)
    targets = np.zeros((count, width), np.int64)
    phones = None if dataset.phones is None else np.zeros((count, _frames(batch.samples)), np.int64)
    for place, row in enumerate(rows):
        speed = int(batch.speeds[place])
        samples = source.read(row, speed)
        speech = samples * _INT16
        if noise is not None:
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((*seeds, row, 1))))
            speech = disturb(speech, noise, rng, source.read, len(source))
        waveforms[place, : len(speech)] = speech
        lengths[place] = len(speech)
        target = dataset.targets[row]
        targets[place, : len(target)] = target
        target_lengths[place] = len(target)
        if phones is not None and dataset.phones is not None:
            labels = dataset.phones.get(source.ids[row])
            if labels is not None:
                aligned = at_speed(labels, source.speeds[speed], _frames(len(speech)))
                phones[place, : len(aligned)] = aligned
    ids = tuple(source.ids[row] for row in rows) + ("",) * (count - len(rows))
    return TrainingBatch(
        torch.from_numpy(waveforms),
        torch.from_numpy(lengths),
        torch.from_numpy(targets),
        torch.from_numpy(target_lengths),
        ids,
        None if phones is None else torch.from_numpy(phones),
    )


def at_speed(labels: NDArray[np.uint8], speed: float, frames: int) -> NDArray[np.uint8]:
    """Return the labels (T,) of a recording played `speed` times as fast, as (frames,); 0 past its end."""
    places = ((np.arange(frames) + 0.5) * speed).astype(np.int64)
    inside = places < len(labels)
    return (
        np.where(inside, labels[np.where(inside, places, 0)], 0).astype(np.uint8)
        if len(labels)
        else np.zeros(frames, np.uint8)
    )


def _frames(samples: int) -> int:
    """Return the number of 10 ms frames of 25 ms windows, as the features count them."""
    return 0 if samples < _WINDOW_SAMPLES else 1 + (samples - _WINDOW_SAMPLES) // _SHIFT_SAMPLES
