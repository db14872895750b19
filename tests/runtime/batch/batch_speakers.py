"""Speakers in a batch, by themselves, and what the model is called with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from leanformer.runtime.batch import Batch
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.session import Session
from leanformer.runtime.stream import Stream
from leanformer.runtime.transcript import Transcript

RATE = 16_000
SPEAKERS = 4


def options(speaker: int) -> dict[str, bool]:
    """The last speaker's stream does without the second pass."""
    return {"first_pass_only": speaker == SPEAKERS - 1}


def alone(recognizer: Recognizer, clips: Sequence[np.ndarray]) -> list[Transcript]:
    found = []
    for speaker, clip in enumerate(clips):
        stream = recognizer.stream(**options(speaker))
        stream.accept_waveform(clip, RATE)
        found.append(stream.finish())
    return found


def drain(batch: Batch) -> None:
    while batch.step():
        pass


def of_all(batch: Batch, recognizer: Recognizer, clips: Sequence[np.ndarray]) -> list[Stream]:
    """A stream for each clip, which has accepted all of it."""
    streams = [recognizer.stream(batch=batch, **options(speaker)) for speaker in range(len(clips))]
    for stream, clip in zip(streams, clips, strict=True):
        stream.accept_waveform(clip, RATE)
    return streams


class Watched(Session):
    """Remembers how many rows each call had; raises what it is told to."""

    rows: list[int]
    raises: Callable[[np.ndarray], BaseException | None] = staticmethod(lambda frames: None)

    def step(self, frames, lengths, state, reads):  # type: ignore[no-untyped-def]
        return self.note(frames) or super().step(frames, lengths, state, reads)

    def step_encoded(self, frames, lengths, state):  # type: ignore[no-untyped-def]
        return self.note(frames) or super().step_encoded(frames, lengths, state)

    def note(self, frames: np.ndarray) -> None:
        if (error := self.raises(frames)) is not None:
            raise error
        self.rows = [*getattr(self, "rows", []), len(frames)]


def watch(folder: Path) -> tuple[Recognizer, Watched, Watched | None]:
    recognizer = Recognizer.load(folder)
    recognizer._session = first = Watched(recognizer._session.bundle)
    second = None
    if recognizer._second is not None:
        recognizer._second = second = Watched(recognizer._second.bundle, which="second")
    return recognizer, first, second
