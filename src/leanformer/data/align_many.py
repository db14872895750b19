"""Forced alignment of many utterances, in worker processes. Needs neither lhotse nor torch."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec

from leanformer.data.aligner import Record, Task, end_with_parent, work
from leanformer.errors import DataError, MissingExtraError

_CHUNK = 8


def require_pocketsphinx() -> None:
    """Raise MissingExtraError without PocketSphinx: better here than in each worker."""
    if find_spec("pocketsphinx") is None:
        raise MissingExtraError("pocketsphinx", "train")


def align_many(tasks: Sequence[Task], jobs: int) -> Iterator[Record]:
    """Yield the record of each task in their order, as `Aligner.record` makes it.

    Worker processes are started afresh ("spawn"), so a script that calls this needs `if __name__ ==
    "__main__":`. Raises DataError when a worker dies.
    """
    if jobs <= 1 or len(tasks) <= _CHUNK:
        yield from map(work, tasks)
        return
    # Spawned, not forked: a fork would copy torch's threads in whatever state they are.
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=end_with_parent) as pool:
            yield from pool.map(work, tasks, chunksize=_CHUNK)
    except BrokenProcessPool as error:
        raise DataError(
            "a process that aligns has died (out of memory?); start again, with fewer jobs, to go on from here"
        ) from error
