"""Halves of the speakers."""

from __future__ import annotations

from pathlib import Path

import pytest

from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import DataError
from leanformer.evaluate.corpus import Clip
from leanformer.evaluate.speakers import of_speakers


def clip(corpus: str, name: str, speaker: str) -> Clip:
    return Clip(corpus, Utterance(name, Path(f"{name}.wav"), "x", speaker))


CLIPS = [
    clip("a", "1", "bob"),
    clip("a", "2", "ann"),
    clip("a", "3", "cid"),
    clip("a", "4", "bob"),
    clip("b", "5", "dan"),
    clip("b", "6", ""),
    clip("b", "7", ""),
]


def names(which: str) -> list[str]:
    return [one.utterance.id for one in of_speakers(CLIPS, which)]  # type: ignore[arg-type]


def test_every_second_speaker_of_each_corpus() -> None:
    # In corpus b the two unknown speakers come first, each on its own.
    assert names("odd") == ["2", "3", "5", "6"]
    assert names("even") == ["1", "4", "7"]
    assert names("all") == [one.utterance.id for one in CLIPS]


def test_one_speaker_has_no_half() -> None:
    with pytest.raises(DataError, match="no clip by even speakers"):
        of_speakers(CLIPS[:1], "even")
