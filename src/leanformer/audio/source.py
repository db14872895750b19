"""What every kind of audio input is reduced to: a name, a rate, and blocks as they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leanformer.errors import AudioError


@dataclass(frozen=True)
class Source:
    """An open sound file or stream.

    `blocks` gives float32 arrays (n, channels) at `rate` Hz until the sound ends, and raises AudioError
    where it breaks. `name` is for messages.
    """

    name: str
    rate: int
    blocks: Iterator[NDArray[np.float32]]


def broken_off(name: str, seconds: float, reason: str) -> AudioError:
    """The error for a sound that ends or turns unreadable too early."""
    return AudioError(
        f"{name} breaks off after {seconds:.2f} s ({reason}): the file is damaged or incomplete; "
        "copy or convert it again"
    )
