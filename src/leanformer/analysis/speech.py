"""Speech to analyse an encoder on: some recordings of some folders, in batches."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from lhotse import CutSet, MonoCut
from numpy.typing import NDArray

from leanformer.data.batching import BatchConfig
from leanformer.data.loader import Dataset, TrainingBatch, dev_batches
from leanformer.data.waveforms import WaveformCache, default_cache_folder
from leanformer.errors import DataError

Phones = Mapping[str, NDArray[np.uint8]]
_BATCH = BatchConfig(batch_seconds=64.0)


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
