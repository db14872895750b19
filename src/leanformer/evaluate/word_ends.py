"""When each word of a transcript was spoken, by forced alignment (`data/aligner.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from leanformer.data.align_many import align_many, require_pocketsphinx
from leanformer.data.aligner import Task
from leanformer.data.alignment_file import load_words
from leanformer.data.decode import Source
from leanformer.data.phones import Segment
from leanformer.errors import DataError
from leanformer.evaluate.corpus import Clip
from leanformer.evaluate.evaluate import Progress

FRAME_SECONDS = 0.01

Ends = dict[str, tuple[float, ...]]
"""Clip's name -> seconds at which each word of its transcript ends."""

Spans = dict[str, tuple[tuple[float, float], ...]]
"""Clip's name -> seconds at which each word of its transcript starts and ends."""


def ends_of(spans: Spans) -> Ends:
    """The ends alone."""
    return {name: tuple(end for _, end in found) for name, found in spans.items()}


def read_spans(path: Path, clips: Sequence[Clip]) -> Spans:
    """Take the times of words from a file that `leanformer align` wrote.

    A clip that is not there, or not with the words of its transcript, is left out.

    Raises:
        DataError: the file cannot be read, or holds the words of none of the clips.
    """
    words = load_words(path)
    spans = _spans(clips, [words.get(clip.name, ()) for clip in clips])
    if not spans:
        raise DataError(
            f"{path}: does not say when the words of any of these clips were spoken; align this split "
            "into a new file with `leanformer align`, or leave --alignments out"
        )
    return spans


def align_spans(clips: Sequence[Clip], *, jobs: int = 1, progress: Progress | None = None) -> Spans:
    """Align the clips now; one with words of unknown pronunciation, or without a path, is left out.

    Raises:
        MissingExtraError: PocketSphinx is not installed.
    """
    require_pocketsphinx()
    words: list[Sequence[Segment]] = []
    for record in align_many([_task(clip) for clip in clips], jobs):
        words.append(record.get("words", ()))
        if progress is not None:
            progress(len(words), len(clips))
    return _spans(clips, words)


def _spans(clips: Sequence[Clip], words: Sequence[Sequence[Segment]]) -> Spans:
    return {
        clip.name: tuple(
            (start * FRAME_SECONDS, (start + frames) * FRAME_SECONDS) for _, start, frames in found
        )
        for clip, found in zip(clips, words, strict=True)
        if [word for word, *_ in found] == clip.utterance.text.split()
    }


def _task(clip: Clip) -> Task:
    utterance = clip.utterance
    part = utterance.start is not None or utterance.channel is not None
    seconds = utterance.seconds if part else None  # of a whole file they may be rounded
    source = Source(str(utterance.path), utterance.start or 0.0, seconds, utterance.channel)
    return clip.name, source, utterance.text
