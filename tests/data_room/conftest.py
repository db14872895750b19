"""Tiny corpora: words of tones, so that a decoded file can be told from another by ear and by number."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 16_000


@pytest.fixture(scope="session")
def tone() -> Callable[..., np.ndarray]:
    """A sine of so many seconds and Hz, (S,) float32."""

    def make(seconds: float, hertz: float = 440.0, rate: int = RATE) -> np.ndarray:
        time = np.arange(round(seconds * rate)) / rate
        return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def write_clip(tone: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Writes a tone to a file."""

    def write(path: Path, seconds: float = 1.0, hertz: float = 440.0, rate: int = RATE) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(seconds, hertz, rate), rate)
        return path

    return write


@pytest.fixture(scope="session")
def write_tsv(write_clip: Callable[..., Path]) -> Callable[..., Path]:
    """Writes an utterances.tsv corpus of rows (id, speaker, split, seconds, text), with its clips."""

    def write(folder: Path, rows: list[tuple[str, str, str, float, str]]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["id\tspeaker\tsplit\tpath\tseconds\ttext"]
        for number, (name, speaker, split, seconds, text) in enumerate(rows):
            write_clip(folder / "clips" / f"{name}.wav", seconds, 200.0 + 50.0 * number)
            lines.append(f"{name}\t{speaker}\t{split}\tclips/{name}.wav\t{seconds:.3f}\t{text}")
        (folder / "utterances.tsv").write_text("\n".join(lines) + "\n")
        return folder

    return write


@pytest.fixture(scope="session")
def small_corpus(write_tsv: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of 0.3 to 2.5 s, ten to train on and two for dev."""
    rows = [
        (
            f"u{i:02}",
            f"s{i % 3}",
            "dev" if i >= 10 else "train",
            0.3 + 0.2 * i,
            f"the cat sat {'on ' * i}the mat",
        )
        for i in range(12)
    ]
    return write_tsv(tmp_path_factory.mktemp("corpora") / "tones", rows)
