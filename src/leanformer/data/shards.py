"""A shard of the waveform cache: a file of int16 samples (16 kHz) of many utterances, and an index beside it.

`NAME-DIGEST-speed0.9.i16` holds samples after samples; its `.json` says where each utterance begins, how
long it is, and the identity of what it was decoded from (path, piece, size, time of change). A shard serves
any selection of its utterances whose identities still hold, so leaving some out needs no new one. A pair
appears by renaming finished files, the index last: a build that was interrupted leaves nothing that looks
complete.
"""

import contextlib
import glob
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from leanformer.data.decode import Source, try_decode

_VERSION = 1
Decoded = list[NDArray[np.int16]] | str


@dataclass(frozen=True)
class Shard:
    """An open shard at one speed.

    Attributes:
        samples: (total,) int16, memory-mapped.
        utterances: id -> (offset, samples, identity).
        broken: id -> (reason why it cannot be decoded, identity).
    """

    samples: NDArray[np.int16]
    utterances: Mapping[str, tuple[int, int, str]]
    broken: Mapping[str, tuple[str, str]]

    def serves(self, identities: Mapping[str, str]) -> bool:
        """Tell whether every utterance of `identities` is here, decoded from what is on disk now."""
        return all(
            (self.utterances.get(n) or self.broken.get(n) or ("",))[-1] == i for n, i in identities.items()
        )


def identities(sources: Mapping[str, Source]) -> dict[str, str]:
    """Return what tells each utterance's content from any other, without reading it."""
    found = {}
    for name, source in sources.items():
        try:
            stat = Path(source.path).stat()
            state = f"{stat.st_size} {stat.st_mtime_ns}"
        except OSError:
            state = "missing"
        found[name] = hashlib.sha256(f"{_VERSION} {source} {state}".encode()).hexdigest()[:16]
    return found


def find_shard(folder: Path, name: str, speed: float, wanted: Mapping[str, str]) -> Shard | None:
    """Return a shard in `folder` that has all utterances of `wanted` (id -> identity), if there is one."""
    for index in sorted(folder.glob(f"{glob.escape(name)}-*-speed{speed:g}.i16.json")):
        shard = _open(index)
        if shard is not None and shard.serves(wanted):
            return shard
    return None


def build_shards(
    stem: Path,
    speeds: Sequence[float],
    sources: Mapping[str, Source],
    wanted: Mapping[str, str],
    threads: int,
    progress: Callable[[], None],
) -> list[Shard]:
    """Decode `sources` and write one shard a speed beside `stem`, whose name is the corpus.

    `wanted` are the identities of the sources. Calls `progress` after each utterance. Raises OSError if a
    shard cannot be written, as on a full disk; nothing is left behind then.
    """
    digest = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]
    paths = [stem.with_name(f"{stem.name}-{digest}-speed{speed:g}.i16") for speed in speeds]
    utterances: list[dict[str, tuple[int, int, str]]] = [{} for _ in speeds]
    broken: dict[str, tuple[str, str]] = {}
    with contextlib.ExitStack() as stack:
        partial = [path.with_name(f"{path.name}.{os.getpid()}.part") for path in paths]
        for part in partial:
            stack.callback(part.unlink, missing_ok=True)
        files: list[BinaryIO] = [stack.enter_context(part.open("wb")) for part in partial]
        for utterance, decoded in _decode_all(sources, tuple(speeds), threads):
            progress()
            if isinstance(decoded, str):
                broken[utterance] = (decoded, wanted[utterance])
                continue
            for file, entries, samples in zip(files, utterances, decoded, strict=True):
                entries[utterance] = (file.tell() // 2, samples.size, wanted[utterance])
                file.write(samples.tobytes())
        for file, part, path, entries in zip(files, partial, paths, utterances, strict=True):
            file.close()
            _publish(part, path, {"utterances": entries, "broken": broken})
    return [shard for path in paths if (shard := _open(_index_of(path))) is not None]


def _publish(part: Path, path: Path, index: Mapping[str, object]) -> None:
    scratch = part.with_name(part.name + ".json")
    try:
        scratch.write_text(json.dumps(index))
        part.replace(path)
        scratch.replace(_index_of(path))
    finally:
        scratch.unlink(missing_ok=True)


def _index_of(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _open(index: Path) -> Shard | None:
    """Return the shard of an index, or None if the pair is damaged: then a new one is built."""
    path = index.with_suffix("")
    try:
        content = json.loads(index.read_text())
        size = path.stat().st_size // 2
        utterances = {name: tuple(entry) for name, entry in content["utterances"].items()}
        broken = {name: tuple(entry) for name, entry in content["broken"].items()}
        if any(offset + count > size for offset, count, _ in utterances.values()):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    samples = (
        np.memmap(path, np.int16, mode="r") if size else np.zeros(0, np.int16)
    )  # no empty file can be mapped
    return Shard(samples, utterances, broken)


def _decode_all(
    sources: Mapping[str, Source], speeds: tuple[float, ...], threads: int
) -> Iterator[tuple[str, Decoded]]:
    """Yield (id, samples at each speed or the reason why there are none), in order, decoding a few ahead.

    Threads suffice, since libsndfile and soxr release the GIL.
    """
    ahead: deque[tuple[str, Future[Decoded]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for name, source in sources.items():
                ahead.append((name, pool.submit(try_decode, source, speeds)))
                if len(ahead) > 8 * threads:
                    done, future = ahead.popleft()
                    yield done, future.result()
            while ahead:
                done, future = ahead.popleft()
                yield done, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
