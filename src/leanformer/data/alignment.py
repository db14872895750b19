"""A table of frame-level phone labels, made by forced alignment and kept in a file (`alignment_file.py`).

A run that was stopped goes on where it was.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import CutSet
from numpy.typing import NDArray

from leanformer.data.align_many import align_many, require_pocketsphinx
from leanformer.data.aligner import Record
from leanformer.data.alignment_file import key, malformed, read_records
from leanformer.data.phones import frame_labels
from leanformer.data.waveforms import source_of
from leanformer.errors import DataError


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
            for number, record in enumerate(read_records(Path(path)), start=1):
                if "phones" in record:
                    try:
                        labels[key(record)] = frame_labels(record["phones"])
                    except (TypeError, ValueError) as error:
                        raise malformed(Path(path), number) from error
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
    done = {key(record): _outcome(record) for record in read_records(path)} if path.exists() else {}
    wanted = [cut for cut in cuts if cut.supervisions and cut.supervisions[0].text]
    todo = [(cut.id, source_of(cut), cut.supervisions[0].text) for cut in wanted if cut.id not in done]
    if todo:
        require_pocketsphinx()
    try:
        _keep_whole_lines(path)
        with path.open("a", encoding="utf-8") as out:
            for count, record in enumerate(align_many(todo, jobs), start=1):
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


def _outcome(record: Record) -> str:
    return "aligned" if "phones" in record else "unpronounceable" if "missing" in record else "failed"


def _keep_whole_lines(path: Path) -> None:
    """Cut off a last line that has no end, left by a run that was killed."""
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            path.write_bytes(content[: content.rfind(b"\n") + 1])
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
