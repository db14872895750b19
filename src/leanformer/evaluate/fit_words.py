"""Fit a model's word times and confidence on transcribed speech: what `leanformer tune --words` does.

The model hears the speech once; each search then goes through what it heard, just as a stream would run it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanformer.decoder.search import Search
from leanformer.errors import DataError
from leanformer.evaluate.corpus import Clip
from leanformer.evaluate.fit_confidence import fit_confidence
from leanformer.evaluate.fit_times import Placed, fit_times
from leanformer.evaluate.reliability import Reliability
from leanformer.evaluate.wer import matching_words
from leanformer.evaluate.word_ends import Spans
from leanformer.runtime.confidence import IDENTITY, Calibration
from leanformer.runtime.reader import Reader
from leanformer.runtime.word_times import WordTimes
from leanformer.runtime.words import Spoken, Token, WordMaker
from leanformer.text.normalization import normalize

Frames = NDArray[np.float32]

FEWEST_WORDS = 100
# A step of the runtime at its usual chunk: settled tokens leave the search there.
_STEP = 16


@dataclass(frozen=True, slots=True)
class Checked:
    """The words that a search found in a clip, and for each the place of the transcript's word that it gets right."""

    clip: Clip
    words: tuple[Spoken, ...]
    places: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class FittedConfidence:
    """The map, and how reliable confidence was on the very words it was fitted to, without it and with it."""

    calibration: Calibration
    before: Reliability
    after: Reliability


def search_tokens(search: Search[Any], frames: Frames) -> list[Token]:
    """What a search makes of a whole recording (T, V or D), run as a stream runs it."""
    reader, tokens = Reader(search), list[Token]()
    for start in range(0, len(frames), _STEP):
        reader.read(frames[start : start + _STEP])
        tokens += reader.take()
    return [*tokens, *reader.finish()]


def check_words(
    search: Search[Any], clips: Sequence[Clip], heard: Sequence[Frames], maker: WordMaker
) -> Iterator[Checked]:
    """The words of each clip; `heard` has what the search reads of each."""
    for clip, frames in zip(clips, heard, strict=True):
        spoken = [one for one in maker.spoken(search_tokens(search, frames)) if normalize(one.text)]
        text = " ".join(normalize(one.text).replace(" ", "") for one in spoken)
        right = matching_words(clip.utterance.text, text) if spoken else []
        yield Checked(clip, tuple(spoken), {there: place for place, there in right})


def fit_calibration(checked: Sequence[Checked]) -> FittedConfidence:
    """The map to confidence; raises DataError with too few words."""
    p = [word.probability for one in checked for word in one.words]
    right = [number in one.places for one in checked for number in range(len(one.words))]
    if len(p) < FEWEST_WORDS:
        raise DataError(f"{len(p)} words were heard, too few to fit on: it takes {FEWEST_WORDS}; add speech")
    found = fit_confidence(p, right)
    before, after = (Reliability.of_words([round(one(q), 3) for q in p], right) for one in (IDENTITY, found))
    return FittedConfidence(found, before, after)


def fit_word_times(checked: Sequence[Checked], spans: Spans, frame_seconds: float) -> tuple[WordTimes, int]:
    """The times, and how many words they were fitted to; raises DataError with too few of them."""
    placed = [
        word for one in checked if one.clip.name in spans for word in _placed(one, spans[one.clip.name])
    ]
    if len(placed) < FEWEST_WORDS:
        raise DataError(
            f"{len(placed)} words were heard right and are in the alignment, too few to fit on: it takes "
            f"{FEWEST_WORDS}; add speech, or align the same split"
        )
    return fit_times(placed, frame_seconds), len(placed)


def _placed(checked: Checked, spans: Sequence[tuple[float, float]]) -> Iterator[Placed]:
    words = checked.words
    for number, place in checked.places.items():
        yield Placed(
            words[number].first,
            words[number].last,
            words[number].letters,
            words[number - 1].last if number else None,
            words[number + 1].first if number + 1 < len(words) else None,
            *spans[place],
        )
