"""A table of frame-level phone labels, made by forced alignment and kept as JSON lines.

Each line is {"id", "phones": [[name, first 10 ms frame, frames], ...]}, or has "missing" (words nobody can
spell) or "error" in place of "phones". A run that was stopped goes on where it was.
"""

import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import CutSet
from numpy.typing import NDArray

from leanformer.data.aligner import Record, Task, end_with_parent, work
from leanformer.data.phones import frame_labels
from leanformer.data.waveforms import source_of
from leanformer.errors import DataError, MissingExtraError

_CHUNK = 8


@dataclass(frozen=True)
class AlignmentReport:
    """Utterances aligned, and those left out: a word has no pronunciation, or there is no path."""

    aligned: int = 0
    unpronounceable: int = 0
    failed: int = 0

    def __str__(self) -> str:
        """One line for a person."""
        return (
            f"{self.aligned} utterances aligned, {self.unpronounceable} with words of unknown pronunciation, "
            f"{self.failed} without a path"
        )


class AlignmentTable(Mapping[str, NDArray[np.uint8]]):
    """Utterance id to phone ids at 10 ms (T,) uint8, for the utterances that could be aligned."""

    def __init__(self, labels: Mapping[str, NDArray[np.uint8]]) -> None:
        self._labels = dict(labels)

    @classmethod
    def load(cls, *paths: str | Path) -> "AlignmentTable":
        """Read one or more files; where two align the same utterance, the later counts.

        Raises DataError naming the line that is not as expected, or the file that cannot be read.
        """
        labels: dict[str, NDArray[np.uint8]] = {}
        for path in paths:
            for number, record in enumerate(_read(Path(path)), start=1):
                if "phones" in record:
                    try:
                        labels[_key(record)] = frame_labels(record["phones"])
                    except (TypeError, ValueError) as error:
                        raise _malformed(Path(path), number) from error
        return cls(labels)

    def __getitem__(self, name: str) -> NDArray[np.uint8]:
        return self._labels[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)


def align(
    cuts: CutSet, out_path: str | Path, *, jobs: int = 2, progress: Callable[[int, int], None] | None = None
) -> AlignmentReport:
    """Align `cuts`, appending those that `out_path` does not hold yet; return what it then holds of them.

    Worker processes are started afresh ("spawn"), so a script that calls this needs `if __name__ ==
    "__main__":`. Raises DataError if `out_path` cannot be written, MissingExtraError without PocketSphinx.
    """
    path = Path(out_path)
    done = {_key(record): _outcome(record) for record in _read(path)} if path.exists() else {}
    wanted = [cut for cut in cuts if cut.supervisions and cut.supervisions[0].text]
    todo = [(cut.id, source_of(cut), cut.supervisions[0].text) for cut in wanted if cut.id not in done]
    if todo and find_spec("pocketsphinx") is None:
        raise MissingExtraError("pocketsphinx", "train")
    try:
        _keep_whole_lines(path)
        with path.open("a", encoding="utf-8") as out:
            for count, record in enumerate(_records(todo, jobs), start=1):
                out.write(json.dumps(record) + "\n")
                out.flush()
                done[record["id"]] = _outcome(record)
                if progress:
                    progress(count, len(todo))
    except OSError as error:
        raise DataError(
            f"{path}: cannot write the alignment ({error.strerror}); choose another file"
        ) from error
    return AlignmentReport(**Counter(done[cut.id] for cut in wanted))


def _records(todo: list[Task], jobs: int) -> Iterator[Record]:
    if jobs <= 1 or len(todo) <= _CHUNK:
        yield from map(work, todo)
        return
    # Spawned, not forked: a fork would copy torch's threads in whatever state they are.
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=end_with_parent) as pool:
            yield from pool.map(work, todo, chunksize=_CHUNK)
    except BrokenProcessPool as error:
        raise DataError(
            "a process that aligns has died (out of memory?); start again, with fewer jobs, to go on from here"
        ) from error


def _outcome(record: Record) -> str:
    return "aligned" if "phones" in record else "unpronounceable" if "missing" in record else "failed"


def _key(record: Mapping[str, Any]) -> str:
    return f"{record['corpus']}/{record['id']}" if "corpus" in record else str(record["id"])


def _read(path: Path) -> Iterator[Record]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the alignment ({error.strerror}); make it with `leanformer align`"
        ) from error
    for number, line in enumerate(
        lines[:-1], start=1
    ):  # the last is empty, or was cut off as a run was stopped
        try:
            record = json.loads(line)
            record["id"]
        except (ValueError, KeyError, TypeError) as error:
            raise _malformed(path, number) from error
        yield record


def _malformed(path: Path, line: int) -> DataError:
    return DataError(
        f'{path}:{line}: expected {{"id": ..., "phones": [[name, start, frames], ...]}}; remove this line'
    )


def _keep_whole_lines(path: Path) -> None:
    """Cut off a last line that has no end, left by a run that was killed."""
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            path.write_bytes(content[: content.rfind(b"\n") + 1])
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
