"""Ctrl-C as the usual end of listening: it breaks into the wait for sound, and into nothing else."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import TypeVar

Block = TypeVar("Block")


class Interrupt:
    """Within this context Ctrl-C ends `until_asked` and raises nothing.

    Python's own KeyboardInterrupt may come in the middle of a step of the model, and the last words would be lost.
    """

    def __init__(self) -> None:
        self.asked = False
        self.again = False
        "whether Ctrl-C came a second time: whoever is still at work should leave the rest"
        self._waiting = False

    def __enter__(self) -> Interrupt:
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def until_asked(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The blocks, until Ctrl-C."""
        rest = iter(blocks)
        while not self.asked:
            try:
                self._waiting = True
                block = next(rest)
            except (StopIteration, KeyboardInterrupt):
                return
            finally:
                self._waiting = False
            yield block

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.again, self.asked = self.asked, True
        if self._waiting:
            raise KeyboardInterrupt
