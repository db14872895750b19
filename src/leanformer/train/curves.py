"""TensorBoard curves that never end a run: where they cannot be written, training goes on without them."""

import logging
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger

_LOG = logging.getLogger(__name__)


class Curves(TensorBoardLogger):
    """Writes to `run`/tensorboard until that fails once, as on a full disk.

    Args:
        run: the folder.
        first_step: of a run that is resumed; TensorBoard then drops what had been logged from there on.
    """

    def __init__(self, run: Path, first_step: int | None = None) -> None:
        super().__init__(run, name="", version="tensorboard", purge_step=first_step)
        self._failed = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log, unless that failed before."""
        try:
            if not self._failed:
                super().log_metrics(metrics, step)
        except (OSError, ValueError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError):
                raise
            self._give_up(cause)

    def save(self) -> None:
        """Flush, unless writing failed before."""
        try:
            if not self._failed:
                super().save()
        except OSError as error:
            self._give_up(error)

    def finalize(self, status: str) -> None:
        """Flush and close."""
        try:
            super().finalize(status)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if not self._failed:
            _LOG.warning(
                "%s: cannot write TensorBoard's curves (%s); going on without", self.log_dir, error.strerror
            )
        self._failed = True
