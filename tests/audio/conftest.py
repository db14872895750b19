import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

CLIP = Path(__file__).parents[1] / "data" / "clips" / "1970-28415-0003.opus"


@pytest.fixture(scope="session")
def clip() -> Path:
    """A real recording: Opus, 16 kHz mono, 7.2 s."""
    return CLIP


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """Three seconds of it, (48000,) float32."""
    return soundfile.read(CLIP, dtype="float32")[0][:48_000]


@pytest.fixture(scope="session")
def make_wav() -> Callable[..., bytes]:
    """Builds the bytes of a WAV by hand, so that its header may lie."""

    def make(data: bytes, *, rate=16_000, channels=1, bits=16, encoding=1, size: int | None = None) -> bytes:
        frame_bytes = channels * bits // 8
        size = len(data) if size is None else size
        layout = struct.pack(
            "<HHIIHH", encoding, channels, rate, rate * frame_bytes % 2**32, frame_bytes, bits
        )
        head = b"RIFF" + struct.pack("<I", min(36 + size, 2**32 - 1)) + b"WAVE"
        return head + b"fmt " + struct.pack("<I", 16) + layout + b"data" + struct.pack("<I", size) + data

    return make
