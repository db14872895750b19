"""Run a recogniser over clips, and count its errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import LeanformerError
from leanformer.evaluate.corpus import Clip
from leanformer.evaluate.excerpt import read_excerpt
from leanformer.evaluate.judge import HeardWord
from leanformer.evaluate.wer import Errors, count_errors, require_jiwer

Progress = Callable[[int, int], None]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Heard(Protocol):
    """What is asked of a transcript."""

    @property
    def text(self) -> str:
        """The words on one line."""
        ...

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        ...


class Transcriber(Protocol):
    """What is asked of a recogniser; `leanformer.Recognizer` is one."""

    def transcribe(self, audio: str | Path | NDArray[Any], sample_rate: int | None = None) -> Heard:
        """The transcript of a file, or of samples at `sample_rate` Hz; called from several threads."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """A clip, what was heard in it, and the errors; `busy_seconds` passed from opening it to its text.

    `words` are those heard, with times and confidence, of a recogniser that gives them.
    """

    clip: Clip
    hypothesis: str
    errors: Errors
    audio_seconds: float
    busy_seconds: float
    words: tuple[HeardWord, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """A clip that could not be transcribed, and why."""

    clip: Clip
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """All clips, in their order: those with a score, and those without."""

    scored: tuple[Scored, ...]
    failed: tuple[Failed, ...]


@dataclass(frozen=True, slots=True)
class _Heard:
    text: str
    audio_seconds: float
    busy_seconds: float
    words: tuple[HeardWord, ...]


def evaluate(
    recognizer: Transcriber, clips: Sequence[Clip], *, jobs: int = 1, progress: Progress | None = None
) -> Outcome:
    """Transcribe all clips and compare each with its transcript; a clip that fails does not stop the others.

    Args:
        recognizer: transcribes; it is shared by all jobs.
        clips: as `read_clips` gives them.
        jobs: clips to work on at the same time, each in a thread. With more jobs than free processors they
            wait for one another, and the real-time factor grows.
        progress: called with (done, total) after each clip.

    Raises:
        MissingExtraError: jiwer is not installed.
    """
    require_jiwer()
    results: list[_Heard | str] = []
    for result in in_order(lambda clip: _hear(recognizer, clip), clips, jobs):
        results.append(result)
        if progress is not None:
            progress(len(results), len(clips))
    heard = [(clip, one) for clip, one in zip(clips, results, strict=True) if isinstance(one, _Heard)]
    errors = count_errors([clip.utterance.text for clip, _ in heard], [one.text for _, one in heard])
    return Outcome(
        tuple(
            Scored(clip, one.text, counts, one.audio_seconds, one.busy_seconds, one.words)
            for (clip, one), counts in zip(heard, errors, strict=True)
        ),
        tuple(Failed(clip, one) for clip, one in zip(clips, results, strict=True) if isinstance(one, str)),
    )


def in_order(function: Callable[[_Item], _Result], items: Sequence[_Item], jobs: int) -> Iterator[_Result]:
    """The function's result for each item in their order, computed in `jobs` threads."""
    if jobs == 1 or len(items) < 2:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(max_workers=min(jobs, len(items)))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _hear(recognizer: Transcriber, clip: Clip) -> _Heard | str:
    """What was heard, or why nothing could be."""
    start = time.perf_counter()
    try:
        heard = _transcribe(recognizer, clip.utterance)
        taken = time.perf_counter() - start
        return _Heard(heard.text, heard.duration, taken, tuple(getattr(heard, "words", ())))
    except LeanformerError as error:
        return str(error)
    except Exception as error:  # whatever it is, hours of other clips must not be lost to it
        return f"{clip.utterance.path}: {type(error).__name__}: {error}"


def _transcribe(recognizer: Transcriber, utterance: Utterance) -> Heard:
    if utterance.start is None and utterance.channel is None:
        return recognizer.transcribe(utterance.path)
    samples, rate = read_excerpt(utterance)
    return recognizer.transcribe(samples, rate)
