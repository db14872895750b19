"""Speech to analyse an encoder on: some recordings of some folders, in batches."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from lhotse import CutSet, MonoCut
from numpy.typing import NDArray

from leanformer.data.batching import BatchConfig
from leanformer.data.loader import Dataset, TrainingBatch, dev_batches
from leanformer.data.waveforms import WaveformCache, default_cache_folder
from leanformer.errors import DataError

Phones = Mapping[str, NDArray[np.uint8]]
_BATCH = BatchConfig(batch_seconds=64.0)


def shuffled(cuts: Iterable[MonoCut], seed: int) -> list[MonoCut]:
    """Cuts in an order that follows from their ids and the seed alone, so that other folders do not disturb it."""
    return sorted(cuts, key=lambda cut: (zlib.crc32(f"{seed} {cut.id}".encode()), cut.id))


def until_seconds(cuts: Sequence[MonoCut], seconds: float) -> list[MonoCut]:
    """The first cuts, up to the one with which they last so long."""
    chosen: list[MonoCut] = []
    total = 0.0
    for cut in cuts:
        if total >= seconds:
            break
        chosen.append(cut)
        total += cut.duration
    return chosen


def batches(cuts: Sequence[MonoCut], phones: Phones | None = None) -> Iterator[TrainingBatch]:
    """The recordings of some cuts by length, each once; with the phones of their frames, if these are given.

    Raises:
        DataError: there are none, or none can be decoded.
    """
    if not cuts:
        raise DataError("no recording is left to analyse; name other data, or another split")
    waveforms = WaveformCache(default_cache_folder()).open(CutSet.from_cuts(cuts))
    nothing = np.empty(0, np.int64)
    count = len(waveforms)
    yield from dev_batches(Dataset(waveforms, ("",) * count, (nothing,) * count, phones), _BATCH)
