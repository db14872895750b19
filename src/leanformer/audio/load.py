"""A whole sound file at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leanformer.audio.blocks import read_blocks


def load_audio(path: str | Path, sample_rate: int = 16_000) -> NDArray[np.float32]:
    """The samples of a file, (S,) float32 mono at `sample_rate`: exactly those that `read_blocks` streams.

    Raises AudioError for a file that is missing, a directory, empty, not audio, damaged, without samples,
    with NaN or infinite samples, or of an impossible rate.
    """
    # Longer blocks would be no faster, and an error could tell less precisely where the file breaks.
    blocks = read_blocks(path, block_seconds=1.0, sample_rate=sample_rate)
    # One sample at 48 kHz is none at 16 kHz: there may be no block.
    return np.concatenate([np.zeros(0, np.float32), *blocks])
