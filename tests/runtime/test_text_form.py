"""Text in the form that the user's function gives it; words and times as they were."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from leanformer.decoder.ctc import GreedySearch
from leanformer.errors import ConfigError
from leanformer.runtime.batch import Batch
from leanformer.runtime.formats import render
from leanformer.runtime.recognizer import Recognizer

RATE = 16_000


def sentence(text: str) -> str:
    return f"{text.capitalize()}.\n"


@pytest.fixture(scope="module", params=["one pass", "two passes"])
def folder(request: pytest.FixtureRequest, bundle_folder: Path, cascade_folder: Path) -> Path:
    return bundle_folder if request.param == "one pass" else cascade_folder


def test_segments_have_the_form_and_words_do_not(folder: Path, speech: np.ndarray) -> None:
    plain = Recognizer.load(folder).transcribe(speech)
    recognizer = Recognizer.load(folder, text_form=sentence)
    for one in (recognizer, recognizer.with_search(GreedySearch())):
        shaped = one.transcribe(speech)
        assert [segment.text for segment in shaped.segments] == [
            f"{segment.text.capitalize()}." for segment in plain.segments
        ]
        assert shaped.text == " ".join(segment.text for segment in shaped.segments)
        assert shaped.words == plain.words
        times = [(segment.start, segment.end) for segment in plain.segments]
        assert [(segment.start, segment.end) for segment in shaped.segments] == times


def test_what_is_shown_has_the_form_and_only_segments_are_stable(folder: Path, speech: np.ndarray) -> None:
    plain, shaped = Recognizer.load(folder).stream(), Recognizer.load(folder, text_form=sentence).stream()
    shown = []
    for start in range(0, len(speech), 3_000):
        for stream in (plain, shaped):
            stream.accept_waveform(speech[start : start + 3_000], RATE)
        shown.append(shaped.partial)
        done = [segment.text for segment in plain._segments]
        open_text = plain.partial.removeprefix(" ".join(done)).lstrip()
        assert shown[-1].stable == " ".join(sentence(text).strip() for text in done)
        assert shown[-1].tail == (sentence(open_text).strip() if open_text else "")
    assert any(not later.startswith(earlier) for earlier, later in pairwise(shown))
    assert shaped.finish().text == shaped.partial


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda text: text.split(), r"<lambda> returned \['.*; it must return a str"),
        (lambda text: text[1_000], r"<lambda> failed on '.+' \(IndexError: .*\); it must take any text"),
    ],
)
def test_a_function_that_cannot_be_used(
    bundle_folder: Path, speech: np.ndarray, form: Callable[[str], str], message: str
) -> None:
    recognizer = Recognizer.load(bundle_folder, text_form=form)
    with pytest.raises(ConfigError, match=message):
        recognizer.transcribe(speech)
    # In a batch it is the stream's own trouble.
    batch = Batch()
    bad = recognizer.stream(batch=batch)
    good = Recognizer.load(bundle_folder).stream(batch=batch)
    for stream in (bad, good):
        stream.accept_waveform(speech, RATE)
        stream.end()
    while batch.step():
        pass
    with pytest.raises(ConfigError, match=message):
        bad.finish()
    assert good.finish().words


def test_files_of_text_and_json_have_the_form_subtitles_the_words(
    bundle_folder: Path, speech: np.ndarray
) -> None:
    segments = Recognizer.load(bundle_folder, text_form=str.upper).transcribe(speech).segments
    for kind, shaped in (("text", True), ("json", True), ("srt", False), ("vtt", False)):
        written = "".join(render(segments, kind, None, lambda: 5.0))  # type: ignore[arg-type]
        assert (segments[0].text in written) is shaped
