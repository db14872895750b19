"""What was fitted for words goes into a manifest and comes out of it, and does its work in a stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leanformer.errors import BundleError
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.confidence import Calibration
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.word_fit import UNFITTED, WordFit, write_word_fit
from leanformer.runtime.word_times import WordTimes

FIT = WordFit(
    WordTimes(0.5, 20.0, 60.0),
    {"greedy": Calibration(0.5, 0.0, -1.0), "beam": Calibration(0.0, 0.0, 0.0)},
    "two speakers",
)


@pytest.fixture
def own_bundle(build_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """A bundle to write into."""
    return build_bundle(tmp_path / "own")


def fitted(folder: Path, values: Any) -> Path:
    """The bundle with something else under "words"."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"words": values}))
    return folder


def test_it_is_kept_beside_all_else(own_bundle: Path) -> None:
    path = own_bundle / "manifest.json"
    before = json.loads(path.read_text())
    assert Bundle.open(own_bundle).manifest.words == UNFITTED
    write_word_fit(path, FIT)
    write_word_fit(path, FIT)  # again, over the first
    assert Bundle.open(own_bundle).manifest.words == FIT
    assert {key: value for key, value in json.loads(path.read_text()).items() if key != "words"} == before


def test_a_stream_uses_it(own_bundle: Path, speech: np.ndarray) -> None:
    plain = Recognizer.load(own_bundle)
    assert not plain.calibrated
    raw = plain.transcribe(speech).words
    write_word_fit(own_bundle / "manifest.json", FIT)
    greedy, beam = Recognizer.load(own_bundle), Recognizer.load(own_bundle, beam=2)
    assert greedy.calibrated
    assert beam.calibrated
    words = greedy.transcribe(speech).words
    assert [word.word for word in words] == [word.word for word in raw]
    for word, was in zip(words, raw, strict=True):
        odds = Calibration(0.5, 0.0, -1.0)(was.confidence)
        assert word.confidence == pytest.approx(odds, abs=2e-3)
        assert word.start <= was.start
    assert words[1].start < raw[1].start
    assert {word.confidence for word in beam.transcribe(speech).words} == {0.5}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([], "expected an object"),
        ({}, "times"),
        ({"times": {"share": "x"}, "confidence": {}, "fitted": ""}, "share"),
        ({"times": {"shares": 0.5}, "confidence": {}, "fitted": ""}, "shares"),
        ({"times": {"share": 5}, "confidence": {}, "fitted": ""}, "share = 5"),
        ({"times": {}, "confidence": [], "fitted": ""}, "items"),
        ({"times": {}, "confidence": {"greedy": [1, 2, 3]}, "fitted": ""}, "numbers by name"),
        ({"times": {}, "confidence": {"greedy": {"a": -1}}, "fitted": ""}, "a = -1"),
        ({"times": {}, "confidence": {}}, "fitted"),
    ],
)
def test_a_wrong_one_is_refused_in_one_line(own_bundle: Path, values: Any, named: str) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json: 'words' is wrong") as caught:
        Bundle.open(fitted(own_bundle, values))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be written"):
        write_word_fit(tmp_path / "none" / "manifest.json", FIT)
