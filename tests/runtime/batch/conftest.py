"""Recognisers and clips for all that is tested of batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from batch_speakers import RATE

from leanformer.runtime.recognizer import Recognizer

Noise = Callable[[float], np.ndarray]


@pytest.fixture(scope="module", params=["one pass", "two passes"])
def recognizer(request: pytest.FixtureRequest, bundle_folder: Path, cascade_folder: Path) -> Recognizer:
    return Recognizer.load(bundle_folder if request.param == "one pass" else cascade_folder)


@pytest.fixture(scope="module")
def clips(noise: Noise) -> list[np.ndarray]:
    """What each speaker says: no two of them as long, or loud at the same times."""
    pauses = [np.zeros(int(seconds * RATE), np.float32) for seconds in (0.0, 0.25, 0.5, 1.3)]
    return [
        np.concatenate([pause, noise(0.61 + 0.3 * number), pause, noise(0.7)])
        for number, pause in enumerate(pauses)
    ]
