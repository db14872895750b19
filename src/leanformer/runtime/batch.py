"""Many streams, stepped together: the weights are read once for all of them.

    batch = Batch()
    streams = [recognizer.stream(batch=batch) for _ in speakers]
    while speaking:
        for stream, speaker in zip(streams, speakers):
            stream.accept_waveform(speaker.read(), 16_000)  # queues
        while batch.step():
            pass
        show(stream.partial for stream in streams)

A batch holds no stream's memory. It knows who waits for which step of the model (`runtime/steps.py`), makes rows of one
batch out of them, and hands each its own outcome. A stream without a batch does the same with itself alone.
"""

from __future__ import annotations

from itertools import count
from weakref import WeakValueDictionary

from leanformer.errors import ConfigError
from leanformer.runtime.bundle import Pass
from leanformer.runtime.work import Work, advance

_PASSES: tuple[Pass, ...] = ("first", "second")


class Batch:
    """Steps the streams that were made with it: `recognizer.stream(batch=batch)`, at any time.

    They may be of any recognisers; those of the same weights and chunk size share calls of the model. A stream leaves
    when it is finished or closed, or when nobody holds it any more. An error in one, such as of its search, is raised
    by that stream's next `accept_waveform`, `end` or `finish`, and harms no other.

    Not for several threads at once: this goes for the batch with all of its streams.
    """

    def __init__(self, max_rows: int = 16) -> None:
        """At most `max_rows` streams share a call of the model; with more, there are several calls.

        Raises:
            ConfigError: fewer than one row.
        """
        if max_rows < 1:
            raise ConfigError(f"max_rows = {max_rows}: a batch needs at least 1")
        self._max_rows = max_rows
        # In the order of joining. Weak: a stream that was abandoned must not be heard, nor held, for ever.
        self._works: WeakValueDictionary[int, Work] = WeakValueDictionary()
        self._numbers = count()

    def join(self, work: Work) -> None:
        """Step this, too; a stream does it by itself."""
        self._works[next(self._numbers)] = work

    def step(self) -> int:
        """Move on all streams that have a chunk to hear, by one chunk; returns how many did.

        First the first pass of all, in one call, then the second pass of all that now have enough for it. 0 means that
        nobody waits: all that was queued is heard, but for chunks that are not full.
        """
        moved: set[Work] = set()
        for which in _PASSES:
            waiting = [work for work in self._works.values() if work.waits_for(which)]
            advance(waiting, self._max_rows)
            moved.update(waiting)
        return len(moved)
