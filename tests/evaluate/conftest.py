"""Corpora with transcripts, and a recogniser that hears what a test tells it to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leanformer.errors import AudioError

Row = tuple[str, str, str, str]  # id, speaker, split, text


@dataclass(frozen=True)
class Said:
    text: str
    duration: float = 2.0


class FakeRecognizer:
    """Hears `texts` by the file's stem; an exception among them is raised."""

    name = "fake int8"
    chunk_ms = 640

    def __init__(self, texts: Mapping[str, str | Exception]) -> None:
        self.texts = texts
        self.arrays: list[tuple[np.ndarray, int | None]] = []

    def transcribe(self, audio: Any, sample_rate: int | None = None) -> Said:
        if isinstance(audio, np.ndarray):
            self.arrays.append((audio, sample_rate))
            return Said(self.texts["array"], len(audio) / (sample_rate or 1))
        heard = self.texts[Path(audio).stem]
        if isinstance(heard, Exception):
            raise heard
        return Said(heard)


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """Writes an utterances.tsv; the clips need not be there, as nothing here listens."""

    def write(name: str, *rows: Row) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        lines = ["id\tspeaker\tsplit\tpath\tseconds\ttext"]
        lines += [f"{i}\t{speaker}\t{split}\tclips/{i}.wav\t2.0\t{text}" for i, speaker, split, text in rows]
        (folder / "utterances.tsv").write_text("\n".join(lines) + "\n")
        return folder

    return write


@pytest.fixture
def fake() -> Callable[..., FakeRecognizer]:
    """Makes a recogniser that hears the given text in clips/<id>.wav."""
    return lambda **texts: FakeRecognizer(texts)


@pytest.fixture
def broken_off() -> AudioError:
    return AudioError("clips/b.wav breaks off after 1.00 s")
