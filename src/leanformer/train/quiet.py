"""Lightning's tips, and its warnings about choices that are meant, kept from the user; all others are shown."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("lightning.pytorch", "lightning.fabric")
_MEANT = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own code
    r"You defined a `validation_step` but have no `val_dataloader`",  # data without a dev split: we say so ourselves
    r"Checkpoint directory .* exists and is not empty",
    r"The '.*_dataloader' does not have many workers",
    r".*tensorboardX.*",
)


@contextmanager
def quietly() -> Iterator[None]:
    """Run Lightning without its asides, and without tracebacks of TensorBoard's thread, whose errors `Curves` tells."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _MEANT:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        hook, threading.excepthook = threading.excepthook, _report_thread
        try:
            yield
        finally:
            threading.excepthook = hook
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _report_thread(arguments: threading.ExceptHookArgs) -> None:
    if type(arguments.thread).__module__.startswith("tensorboard.") and isinstance(
        arguments.exc_value, OSError
    ):
        return
    threading.__excepthook__(arguments)
