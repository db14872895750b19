from pathlib import Path

import numpy as np
import pytest
import soundfile

CLIPS = sorted((Path(__file__).parents[1] / "data" / "clips").glob("*.opus"))


@pytest.fixture(scope="session", params=CLIPS, ids=lambda path: path.stem)
def clip(request: pytest.FixtureRequest) -> np.ndarray:
    """Each recording in turn, (S,) float32 at 16 kHz."""
    return soundfile.read(request.param, dtype="float32")[0]


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """Three seconds of one recording, (48000,) float32 at 16 kHz."""
    return soundfile.read(CLIPS[1], dtype="float32")[0][:48_000]
