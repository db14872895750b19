"""Transcribing many recordings, some at the same time, each to its own output."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leanformer.cli.display import Display, LiveLine, Nothing
from leanformer.cli.outcome import in_words
from leanformer.cli.outputs import Growing, Output, Plain, replacing
from leanformer.cli.sources import Source
from leanformer.errors import LeanformerError
from leanformer.runtime.endpoint import Endpointing
from leanformer.runtime.formats import Format, render
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.stream import Stream
from leanformer.runtime.transcript import Segment

Blocks = Iterable[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Task:
    """A recording, and the file for its output; None is standard output."""

    source: Source
    target: Path | None


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a task: output that is still to be written to standard output, or an error."""

    text: str = ""
    error: Exception | None = None
    audio_seconds: float = 0.0
    busy_seconds: float = 0.0


class Clock:
    """Adds up the seconds of processing, leaving out those spent waiting for a speaker."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the seconds until the context ends."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Work:
    """Turns tasks into output. If several have a `shared` standard output, its lines say whose they are."""

    recognizer: Recognizer
    display: Display
    format: Format
    raw_rate: int
    real_time: bool
    shared: bool
    doubtful: float = 0.0
    endpoint: Endpointing | None = None

    def in_order(self, tasks: Sequence[Task], jobs: int) -> Iterator[Done]:
        """Do `jobs` tasks at a time; give the outcomes in the order of the tasks."""
        stop = threading.Event()
        if jobs == 1 or len(tasks) == 1:
            yield from (self._do(task, stop) for task in tasks)
            return
        pool = ThreadPoolExecutor(max_workers=min(jobs, len(tasks)))
        try:
            yield from pool.map(lambda task: self._do(task, stop), tasks)
        finally:
            stop.set()  # after Ctrl-C, what runs ends with its present block
            pool.shutdown(cancel_futures=True)

    def _do(self, task: Task, stop: threading.Event) -> Done:
        stream, clock, held = self.recognizer.stream(endpoint=self.endpoint), Clock(), io.StringIO()
        try:
            if task.target is not None:
                with replacing(task.target) as file:
                    self._write(task.source, Plain(file, Nothing()), stream, clock, stop)
            elif self.shared:
                self._write(task.source, Plain(held, Nothing()), stream, clock, stop)
            else:
                self._write(task.source, self._standard_output(task.source), stream, clock, stop)
        except BrokenPipeError:
            raise
        except OSError as error:
            return Done(error=in_words(error, str(task.target or "standard output")))
        except LeanformerError as error:
            return Done(error=error)
        return Done(held.getvalue(), None, stream.duration, clock.seconds)

    def _standard_output(self, source: Source) -> Output:
        on_terminal = sys.stdout.isatty()
        redrawn = on_terminal and isinstance(self.display, LiveLine)
        if source.is_live and self.format == "text" and not redrawn:
            return Growing(sys.stdout)
        return Plain(sys.stdout, self.display if on_terminal else Nothing())

    def _write(
        self, source: Source, output: Output, stream: Stream, clock: Clock, stop: threading.Event
    ) -> None:
        def after_block() -> None:
            self.display.heard(source, stream)
            output.heard(lambda: stream.partial)
            if stop.is_set():
                raise KeyboardInterrupt

        segments = self._segments(source, stream, clock, after_block)
        name = source.name if self.shared or self.format == "json" else None
        for piece in render(segments, self.format, name, lambda: stream.duration, self.doubtful):
            output.write(piece)

    def _segments(
        self, source: Source, stream: Stream, clock: Clock, after_block: Callable[[], None]
    ) -> Iterator[Segment]:
        rate = self.recognizer.sample_rate
        blocks: Blocks = source.blocks(rate, self.raw_rate)
        if not source.is_live:
            blocks = _timed(blocks, clock)
        if self.real_time:
            blocks = _paced(blocks, rate)
        interrupt: KeyboardInterrupt | None = None
        try:
            for block in blocks:
                with clock.running():
                    stream.accept_waveform(block, rate)
                yield from stream.take_segments()
                after_block()
        except KeyboardInterrupt as error:
            if not source.is_live:
                raise
            interrupt = error  # the usual end of live speech: its last words count
        with clock.running():
            transcript = stream.finish()
        yield from transcript.segments
        if interrupt is not None:
            raise interrupt


def _timed(blocks: Blocks, clock: Clock) -> Iterator[NDArray[np.float32]]:
    """The same blocks; reading them counts as processing."""
    rest = iter(blocks)
    while True:
        with clock.running():
            block = next(rest, None)
        if block is None:
            return
        yield block


def _paced(blocks: Blocks, sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """The same blocks, each when its last sample would have been spoken."""
    start, heard = time.monotonic(), 0
    for block in blocks:
        heard += len(block)
        time.sleep(max(0.0, start + heard / sample_rate - time.monotonic()))
        yield block
