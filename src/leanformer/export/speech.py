"""Real speech to verify an export on, as the features that a runtime would compute."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import leanformer
from leanformer.audio.blocks import read_blocks
from leanformer.errors import ExportError
from leanformer.features.online import OnlineFbank
from leanformer.features.spec import FeatureSpec

SAMPLE = Path(leanformer.__file__).parent / "models" / "sample.opus"
"""The recording that ships with Leanformer."""
MAX_SECONDS = 30


@dataclass(frozen=True)
class Clip:
    """A recording's features (T, F), log-mel as `FeatureSpec` says, not normalised."""

    name: str
    features: NDArray[np.float32]


def read_clips(paths: Sequence[str | Path], spec: FeatureSpec) -> list[Clip]:
    """The features of recordings, each cut to its first MAX_SECONDS.

    Raises:
        AudioError: a file cannot be read.
        ExportError: none of them has a whole frame.
    """
    clips = [Clip(str(path), _features(path, spec)) for path in paths]
    clips = [clip for clip in clips if len(clip.features)]
    if not clips:
        raise ExportError("no speech to verify the export on: every recording is shorter than one frame")
    return clips


def _features(path: str | Path, spec: FeatureSpec) -> NDArray[np.float32]:
    fbank = OnlineFbank(spec)
    blocks = read_blocks(path, block_seconds=1.0, sample_rate=spec.sample_rate)
    for block in islice(blocks, MAX_SECONDS):
        fbank.accept(block)
    fbank.finish()
    return fbank.pop()
