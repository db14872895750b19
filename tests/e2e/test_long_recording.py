"""A recording of minutes, made of the five real clips: understood as they are one by one, and nothing lost at a cut."""

from __future__ import annotations

import csv
import importlib.util
import sys
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest

from leanformer import Recognizer
from leanformer.data.layouts.utterance import Utterance
from leanformer.evaluate.corpus import Clip
from leanformer.runtime.endpoint import Endpointing

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"


@pytest.fixture(scope="module")
def benchmark_room() -> ModuleType:
    path = ROOT / "benchmarks" / "long_recording.py"
    spec = importlib.util.spec_from_file_location("long_recording", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["long_recording"] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def test_minutes_of_clips_are_understood_as_the_clips_are(benchmark_room: ModuleType) -> None:
    with (DATA / "utterances.tsv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
    clips = [Clip("five", Utterance(row["id"], DATA / row["path"], row["text"])) for row in rows]
    # Greedy, as those figures are: a language model makes more of a word in doubt than five clips can even out.
    recognizer = Recognizer.load(beam=1)
    alone = {clip.name: recognizer.transcribe(clip.utterance.path).text for clip in clips}
    recording = benchmark_room.Recording(clips, hours=150 / 3600, seed=0)
    words, cost = benchmark_room.hear(recognizer, recording, Endpointing())
    together = benchmark_room.by_clip(words, recording.order)
    heard = [clip for clip, _, _ in recording.order]
    said = [clip.utterance.text for clip in heard]
    apart = [alone[clip.name] for clip in heard]
    joined = [" ".join(some) for some in together]
    assert len(heard) > 10
    assert cost["ends"] >= len(heard) - 2
    assert len(words) == len(list(chain.from_iterable(together)))
    # Some 250 words, a few of them in doubt: docs/endpointing.md has the figures of three hours.
    assert benchmark_room.percent(said, joined) < benchmark_room.percent(said, apart) + 3
    assert sum(benchmark_room.lost(*three) for three in zip(said, apart, joined, strict=True)) <= 3


def test_lost_and_doubled_words_are_counted(benchmark_room: ModuleType) -> None:
    said, alone = "one two three four five six", "one two tree four five six"
    assert benchmark_room.lost(said, alone, alone) == 0
    assert benchmark_room.lost(said, alone, "two tree four five six") == 1
    assert benchmark_room.lost(said, alone, "one two") == 2  # three and four are no edges
    assert benchmark_room.lost(said, "two three four five six", "two three four five six") == 0
    assert benchmark_room.doubled(["one", "one", "two", "three", "four"]) == 1
    assert benchmark_room.doubled(["one", "two", "two"]) == 1
    assert benchmark_room.doubled(["one", "two"]) == 0
