"""Emission latency of one clip: feed it as if it were being spoken, and watch its words come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from leanformer.audio.files import open_file
from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import LeanformerError
from leanformer.evaluate.emission import Delay, Snapshot, delays
from leanformer.evaluate.evaluate import Progress, Scored, in_order
from leanformer.evaluate.excerpt import read_excerpt
from leanformer.evaluate.wer import matching_words
from leanformer.text.normalization import normalize

# No moment is known better than to one piece. Shorter ones would take longer to feed.
PIECE_SECONDS = 0.02


class HasText(Protocol):
    """A segment or a transcript."""

    @property
    def text(self) -> str:
        """The words on one line."""
        ...


class LiveStream(Protocol):
    """What is asked of a stream; `leanformer.runtime.stream.Stream` is one."""

    def accept_waveform(self, samples: NDArray[Any], sample_rate: int) -> None:
        """Hear the next (S, channels) samples at `sample_rate` Hz."""
        ...

    @property
    def partial(self) -> str:
        """The text so far, without the segments already taken."""
        ...

    def take_segments(self) -> Sequence[HasText]:
        """Give the segments that are complete, and forget them."""
        ...

    def finish(self) -> HasText:
        """Give the text of all that was not taken."""
        ...


class Streamer(Protocol):
    """What is asked of a recogniser; `leanformer.Recognizer` is one."""

    def stream(self) -> LiveStream:
        """A new stream; called from several threads."""
        ...


@dataclass(frozen=True, slots=True)
class Measured:
    """The delays of a clip's right words, and the number of right words whose end is not known."""

    delays: tuple[Delay, ...] = ()
    skipped: int = 0


def stable_text(partial: str) -> str:
    """The part of a partial text that will not change: its attribute `stable`, else nothing."""
    return str(getattr(partial, "stable", ""))


def measure(
    recognizer: Streamer,
    scored: Sequence[Scored],
    ends: Mapping[str, Sequence[float]],
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> dict[str, Measured]:
    """Measure clips that were transcribed before.

    Args:
        recognizer: makes a stream for each clip.
        scored: the clips.
        ends: clip's name -> seconds at which each word of its transcript ends; a clip that is not there, or that
            a stream fails on, has only words that are skipped.
        jobs: clips to work on at the same time. Delays with processing grow with it, the others do not.
        progress: called with (done, total) after each clip.

    Returns:
        By the clip's name.
    """

    def one(of: Scored) -> Measured:
        try:
            known = ends[of.clip.name]
            return _measure(listen(recognizer.stream(), of.clip.utterance), of.clip.utterance.text, known)
        except (KeyError, LeanformerError):
            return Measured(skipped=of.errors.words - of.errors.substitutions - of.errors.deletions)

    measured: dict[str, Measured] = {}
    for clip, result in zip(scored, in_order(one, scored, jobs), strict=True):
        measured[clip.clip.name] = result
        if progress is not None:
            progress(len(measured), len(scored))
    return measured


def _measure(snapshots: Sequence[Snapshot], said: str, ends: Sequence[float]) -> Measured:
    pairs = matching_words(said, " ".join(snapshots[-1].shown))
    return Measured(tuple(delays(snapshots, {heard: ends[place] for place, heard in pairs})))


def listen(stream: LiveStream, utterance: Utterance) -> list[Snapshot]:
    """Feed an utterance in short pieces; give what the stream offered, whenever that changed, and at the end.

    A piece is heard when its last sample was spoken, or later when the stream is still busy with those before.
    Texts are normalised as for scoring. Raises AudioError when the file cannot be read.
    """
    snapshots: list[Snapshot] = []
    taken: tuple[str, ...] = ()
    before, fed, done = ("", ""), 0.0, 0.0
    with _pieces(utterance) as (pieces, rate):
        samples = 0
        for piece in pieces:
            samples += len(piece)
            fed, start = samples / rate, time.perf_counter()
            stream.accept_waveform(piece, rate)
            segments = stream.take_segments()
            partial = stream.partial
            done = max(done, fed) + time.perf_counter() - start
            taken += tuple(word for segment in segments for word in _words(segment.text))
            if segments or (partial, stable_text(partial)) != before:
                before = str(partial), stable_text(partial)
                shown, final = (taken + _words(text) for text in before)
                snapshots.append(Snapshot(fed, done, shown, final))
    start = time.perf_counter()
    last = stream.finish()
    done += time.perf_counter() - start
    words = taken + _words(last.text)
    return [*snapshots, Snapshot(fed, done, words, words)]


def _words(text: str) -> tuple[str, ...]:
    return tuple(normalize(text).split())


@contextmanager
def _pieces(utterance: Utterance) -> Iterator[tuple[Iterator[NDArray[np.float32]], int]]:
    """Pieces (S, channels) of an utterance, and their rate in Hz."""
    if utterance.start is None and utterance.channel is None:
        with open_file(utterance.path, block_seconds=PIECE_SECONDS, raw_rate=16_000) as source:
            yield source.blocks, source.rate
        return
    samples, rate = read_excerpt(utterance)
    size = max(1, round(PIECE_SECONDS * rate))
    yield (samples[start : start + size] for start in range(0, len(samples), size)), rate
