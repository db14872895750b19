"""Decoded waveforms of a corpus at several speeds, in a cache so that no epoch decodes a recording again.

The cache may be deleted at any time; it is rebuilt when it is needed.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import CutSet, MonoCut
from numpy.typing import NDArray

from leanformer.data.decode import Source
from leanformer.data.progress import Report, progress_bar
from leanformer.data.shards import Shard, build_shards, find_shard, identities
from leanformer.errors import DataError

_LOG = logging.getLogger(__name__)


def default_cache_folder() -> Path:
    """Return $XDG_CACHE_HOME/leanformer, else ~/.cache/leanformer."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "leanformer"


@dataclass(frozen=True)
class Waveforms:
    """All utterances at all speeds; cheap to hold, since samples stay on disk until they are read.

    Attributes:
        ids: N utterance ids.
        speeds: K speed factors.
        lengths: (N, K) int64 samples at 16 kHz.
        broken: id -> reason, of recordings that could not be decoded; they are not among `ids`.
    """

    ids: tuple[str, ...]
    speeds: tuple[float, ...]
    lengths: NDArray[np.int64]
    broken: Mapping[str, str]
    _samples: tuple[tuple[NDArray[np.int16], ...], ...]  # [group][speed] (total,)
    _places: NDArray[np.int64]  # (N, 1 + K): the group, then the offset at each speed

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, utterance: int, speed: int = 0) -> NDArray[np.int16]:
        """Return the samples (S,) of an utterance at `speeds[speed]`: a read-only view of the file."""
        start = self._places[utterance, 1 + speed]
        samples = self._samples[self._places[utterance, 0]][speed]
        return np.asarray(samples[start : start + self.lengths[utterance, speed]])


@dataclass(frozen=True)
class WaveformCache:
    """Decoded waveforms kept in `folder`, for any number of corpora; decodes with `threads` threads."""

    folder: Path
    threads: int = 2

    def open(
        self, cuts: CutSet, speeds: Sequence[float] = (1.0,), progress: Report | None = None
    ) -> Waveforms:
        """Return the waveforms of `cuts` in their order, decoding those that are not there yet.

        Args:
            cuts: of recordings in files; with unique ids.
            speeds: factors, the first of which should be 1.0, which is what validation and labels go by.
            progress: told of (done, total) utterances while decoding; None draws a bar on a terminal.

        Recordings that cannot be decoded are logged and listed in `broken`. Raises DataError if none can, if
        two cuts have the same id, or if the cache cannot be written.
        """
        groups: dict[str, dict[str, Source]] = {}
        order = []
        for cut in cuts:
            order.append(cut.id)
            groups.setdefault(_group(cut), {})[cut.id] = source_of(cut)
        if sum(map(len, groups.values())) < len(order):
            twice = next(name for i, name in enumerate(order) if name in order[:i])
            raise DataError(f"{twice}: two utterances have this id; rename one of their corpora's folders")
        speeds = tuple(map(float, speeds))
        if progress is not None:
            return _join(order, speeds, self._shards(groups, speeds, progress))
        with progress_bar("decoding into the cache") as bar:
            return _join(order, speeds, self._shards(groups, speeds, bar))

    def _shards(
        self, groups: Mapping[str, Mapping[str, Source]], speeds: tuple[float, ...], progress: Report
    ) -> list[list[Shard]]:
        """Return the shards of each group, by speed."""
        total, done = sum(map(len, groups.values())), 0

        def count(more: int = 1) -> None:
            nonlocal done
            done += more
            progress(done, total)

        shards = []
        for name, sources in groups.items():
            wanted = identities(sources)
            found = {speed: find_shard(self.folder, name, speed, wanted) for speed in speeds}
            lacking = [speed for speed, shard in found.items() if shard is None]
            if lacking:
                found |= zip(lacking, self._build(name, lacking, sources, wanted, count), strict=True)
            else:
                count(len(sources))
            shards.append([shard for shard in found.values() if shard is not None])
        return shards

    def _build(
        self,
        name: str,
        speeds: Sequence[float],
        sources: Mapping[str, Source],
        wanted: Mapping[str, str],
        count: Callable[[], None],
    ) -> list[Shard]:
        _LOG.info("decoding %d recordings of %s into %s", len(sources), name, self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return build_shards(self.folder / name, speeds, sources, wanted, self.threads, count)
        except OSError as error:
            raise DataError(
                f"{self.folder}: cannot write the waveform cache ({error.strerror or error}); "
                "make room, or set XDG_CACHE_HOME to a disk that has some"
            ) from error


def source_of(cut: MonoCut) -> Source:
    """Return where a cut's samples are; raises DataError unless they are in a file."""
    source = cut.recording.sources[0]
    if source.type != "file":
        raise DataError(
            f"{cut.id}: its audio is a {source.type}, expected a file; save the recordings to files first"
        )
    whole = cut.start == 0 and abs(cut.duration - cut.recording.duration) < 1e-3
    channel = cut.channel if cut.recording.num_channels > 1 else None
    return Source(str(source.source), cut.start, None if whole else cut.duration, channel)


def _group(cut: MonoCut) -> str:
    """Return the corpus of a cut, as a file name."""
    custom = cut.supervisions[0].custom or {} if cut.supervisions else {}
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in str(custom.get("corpus", "corpus")))


def _join(order: Sequence[str], speeds: tuple[float, ...], shards: Sequence[Sequence[Shard]]) -> Waveforms:
    where = {name: group for group, (first, *_) in enumerate(shards) for name in first.utterances}
    broken = {name: entry[0] for first, *_ in shards for name, entry in first.broken.items()}
    broken = {name: broken[name] for name in order if name in broken and name not in where}
    for name, reason in broken.items():
        _LOG.warning("%s: cannot be decoded, skipped: %s", name, reason)
    ids = tuple(name for name in order if name not in broken)
    if not ids:
        raise DataError(f"none of {len(order)} recordings can be decoded; {next(iter(broken.values()), '')}")
    places = np.empty((len(ids), 1 + len(speeds)), np.int64)
    lengths = np.empty((len(ids), len(speeds)), np.int64)
    for row, name in enumerate(ids):
        places[row, 0] = where[name]
        for column, shard in enumerate(shards[where[name]]):
            places[row, 1 + column], lengths[row, column], _ = shard.utterances[name]
    samples = tuple(tuple(shard.samples for shard in group) for group in shards)
    return Waveforms(ids, speeds, lengths, broken, samples, places)
