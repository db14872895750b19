"""What a language model and hotwords do on real recordings with the shipped model."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import soundfile
from jiwer import wer

from leanformer import Recognizer
from leanformer.runtime.language_model import path_of

DATA = Path(__file__).parents[1] / "data"
RARE = ["psalm", "hosanna", "david", "fumbling", "bolt", "tooth", "servant", "leonardo", "guests", "wedding"]
# Words as rare that nobody says here; none should be heard.
ABSENT = [
    "adieus", "austin", "baptist", "bower", "bustling", "coins", "contraband", "coverlet",
    "crawley", "definition", "depriving", "fezziwig", "galileo", "harpsichord", "icicle", "jargon",
    "kerosene", "lanyard", "mollusc", "nautilus", "obelisk", "parchment", "quagmire", "rhubarb",
    "saffron", "tarpaulin", "umbrage", "vellum", "walnut", "yeomanry",
]  # fmt: skip


def rows() -> list[dict[str, str]]:
    with (DATA / "utterances.tsv").open(encoding="utf-8") as table:
        return list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))


def heard(recognizer: Recognizer) -> list[str]:
    return [recognizer.transcribe(DATA / row["path"]).text for row in rows()]


def test_the_language_model_takes_errors_away() -> None:
    said = [row["text"] for row in rows()]
    greedy, helped = heard(Recognizer.load(beam=1)), heard(Recognizer.load())
    # Five clips tell that it helps, and not how much: docs/decoding.md has the figures of 499.
    assert wer(said, helped) < wer(said, greedy)


def test_hotwords_are_heard_more_often_and_seldom_where_they_were_not_said() -> None:
    said = [set(row["text"].split()) for row in rows()]

    def found(recognizer: Recognizer) -> tuple[int, int]:
        """How many of the rare words were heard where they were said, and all hotwords where they were not."""
        texts = [set(text.split()) for text in heard(recognizer)]
        hits = sum(len(there & words & set(RARE)) for there, words in zip(texts, said, strict=True))
        return hits, sum(
            len((there - words) & {*RARE, *ABSENT}) for there, words in zip(texts, said, strict=True)
        )

    before, _ = found(Recognizer.load(beam=8, lm="none"))
    after, false_alarms = found(Recognizer.load(beam=8, lm="none", hotwords=[*RARE, *ABSENT]))
    assert after > before
    assert false_alarms <= 1


def test_the_shipped_language_model_is_small() -> None:
    assert path_of("default").stat().st_size < 10e6


@pytest.mark.parametrize("step", [1_600, 7_777])
def test_any_pieces_give_the_same(step: int) -> None:
    recognizer = Recognizer.load()
    path = DATA / rows()[0]["path"]
    samples, rate = soundfile.read(path, dtype="float32")
    stream = recognizer.stream()
    for start in range(0, len(samples), step):
        stream.accept_waveform(samples[start : start + step], rate)
    assert stream.finish() == recognizer.transcribe(samples, rate)
