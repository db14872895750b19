"""Ctrl-C and SIGTERM: finish the step, save, and say how to go on; the second signal ends the process at once."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Training was stopped by a signal, after saving `checkpoint`."""

    def __init__(self, signal_number: int, checkpoint: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}; saved {checkpoint}")
        self.signal_number = signal_number
        self.checkpoint = checkpoint


class StopRequest:
    """Remembers a signal until the trainer gets to it."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def listen(self) -> None:
        """Take the signals over from whoever has them. Only the main thread may; elsewhere nothing happens."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._note)

    @contextmanager
    def restoring_handlers(self) -> Iterator[None]:
        """Give the signals back at the end to whoever has them now."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        if self.signal_number is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal_number = number
        _LOG.warning("stopping after this step, to save a checkpoint; once more to stop at once")
