"""The four formats, and that each of them streams."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from leanformer.runtime.formats import SUFFIXES, Format, render
from leanformer.runtime.transcript import Segment, Transcript, Word


def say(text: str, start: float, pace: float = 0.5, confidence: float = 0.9) -> Segment:
    places = enumerate(text.split())
    return Segment.of(
        tuple(
            Word(word, start + n * pace, round(start + n * pace + 0.3, 3), confidence) for n, word in places
        )
    )


SEGMENTS = (say("and with her", 0.5), say("the end", 3661.25))


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.replace(",", ".").split(":")
    return int(hours) * 3_600 + int(minutes) * 60 + float(rest)


def output(kind: Format, segments: tuple[Segment, ...] = SEGMENTS, name: str | None = None) -> str:
    return "".join(render(iter(segments), kind, name, lambda: 3700.0))


def test_text() -> None:
    assert output("text") == "and with her\nthe end\n"
    assert output("text", name="a.wav") == "a.wav\tand with her\na.wav\tthe end\n"
    assert output("text", ()) == ""
    assert output("text", (), name="a.wav") == "a.wav\t\n"


def test_json_says_what_the_transcript_says() -> None:
    line = output("json", name='odd "name".wav')
    assert line.count("\n") == 1
    values = json.loads(line)
    assert values.pop("file") == 'odd "name".wav'
    assert values == json.loads(json.dumps(Transcript(SEGMENTS, 3700.0).to_dict()))
    assert values["words"][0] == {"word": "and", "start": 0.5, "end": 0.8, "confidence": 0.9}
    assert json.loads(output("json", ())) == {
        "file": None, "segments": [], "words": [], "text": "", "duration": 3700.0
    }  # fmt: skip


def test_srt() -> None:
    assert output("srt") == (
        "1\n00:00:00,500 --> 00:00:01,800\nand with her\n\n2\n01:01:01,250 --> 01:01:02,250\nthe end\n\n"
    )
    assert output("srt", ()) == ""


def test_vtt_tags_words_with_their_times() -> None:
    assert output("vtt") == (
        "WEBVTT\n\n"
        "00:00:00.500 --> 00:00:01.800\nand <00:00:01.000>with <00:00:01.500>her\n\n"
        "01:01:01.250 --> 01:01:02.250\nthe <01:01:01.750>end\n\n"
    )
    assert "a&lt;b&amp;c&gt;" in output("vtt", (say("a<b&c>", 0.0),))


def test_doubtful_words_are_marked_if_that_is_asked_for() -> None:
    sure, unsure = say("and with", 0.5), say("h<r end", 3.0, confidence=0.49)
    both = (Segment.of((*sure.words, *unsure.words)),)
    srt, vtt = ("".join(render(iter(both), kind, None, lambda: 9.0, 0.5)) for kind in ("srt", "vtt"))
    assert "and with <i>h<r</i> <i>end</i>" in srt
    assert "and <00:00:01.000>with <00:00:03.000><c.doubtful>h&lt;r</c>" in vtt
    assert vtt.startswith("WEBVTT\n\nSTYLE\n::cue(.doubtful)")
    for kind in ("srt", "vtt"):
        plain = "".join(render(iter(both), kind, None, lambda: 9.0))
        assert "<i>" not in plain
        assert "doubtful" not in plain


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_long_segments_become_readable_cues(kind: Format) -> None:
    text = " ".join(f"word{number}" for number in range(60))
    out = output(kind, (say(text, 0.0, pace=0.3),))
    plain = re.sub(r"<[^>]*>", "", out)
    cues = re.findall(r"--> .*\n((?:.+\n)+)", plain)
    assert " ".join(" ".join(cues).split()) == text
    assert len(cues) > 3
    for cue in cues:
        lines = cue.splitlines()
        assert len(lines) <= 2
        assert all(len(line) <= 42 for line in lines)
    times = [seconds(clock) for clock in re.findall(r"\d\d:\d\d:\d\d[.,]\d\d\d", plain)]
    assert times == sorted(times)
    assert max(end - start for start, end in zip(times[::2], times[1::2], strict=True)) <= 7


def test_a_short_cue_stays_until_the_next() -> None:
    out = output("srt", (say("one", 1.0), say("two", 1.6), say("three", 9.0)))
    assert re.findall(r"\S+ --> \S+", out) == [
        "00:00:01,000 --> 00:00:01,600",
        "00:00:01,600 --> 00:00:02,600",
        "00:00:09,000 --> 00:00:10,000",
    ]


@pytest.mark.parametrize("kind", SUFFIXES)
def test_output_comes_while_segments_do(kind: Format) -> None:
    asked = 0

    def endless() -> Iterator[Segment]:
        nonlocal asked
        while True:
            asked += 1
            yield say("again", 2.0 * asked)

    pieces = render(endless(), kind, "a.wav", lambda: 0.0)
    got = "".join(next(pieces) for _ in range(6))
    assert "again" in got
    assert asked <= 8
