"""The figures of a report, and that all of them reach JSON and the table."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from leanformer.data.layouts.utterance import Utterance
from leanformer.evaluate.corpus import Clip
from leanformer.evaluate.emission import Delay
from leanformer.evaluate.evaluate import Failed, Outcome, Scored
from leanformer.evaluate.latency import Measured
from leanformer.evaluate.report import Measures, Report, Setup, make_report
from leanformer.evaluate.tables import tables
from leanformer.evaluate.wer import count_errors

SETUP = Setup("lean", "int8", 640, 1, 2, "dev", "0.1.0")
FIGURES = (
    "wer", "cer", "wer_interval", "substitutions", "deletions", "insertions", "utterances", "words",
    "audio_seconds", "rtf",
)  # fmt: skip


def scored(corpus: str, name: str, said: str, heard: str, speaker: str = "") -> Scored:
    (errors,) = count_errors([said], [heard])
    return Scored(Clip(corpus, Utterance(name, f"{name}.wav", said, speaker)), heard, errors, 4.0, 1.0)  # type: ignore[arg-type]


@pytest.fixture
def report() -> Report:
    outcome = Outcome(
        (
            scored("b", "1", "one two three", "one too three four"),
            scored("b", "2", "five", "five"),
            scored("[a]", "1", "six seven", ""),
        ),
        (Failed(Clip("[a]", Utterance("9", "9.wav", "x")), "9.wav does not exist"),),  # type: ignore[arg-type]
    )
    return make_report(SETUP, outcome, {"with an empty transcript": 3})


def test_figures(report: Report) -> None:
    first, second = report.corpora["[a]"], report.corpora["b"]
    assert (first.wer, first.deletions, first.utterances, first.failed) == (1.0, 2, 1, 1)
    assert first.wer_interval is None  # one clip tells nothing of others
    assert (second.wer, second.substitutions, second.insertions, second.words) == (0.5, 1, 1, 4)
    assert (second.audio_seconds, second.processing_seconds, second.rtf) == (8.0, 2.0, 0.25)
    assert (report.total.wer, report.total.utterances, report.total.failed) == (4 / 6, 3, 1)
    low, high = report.total.wer_interval or (1.0, 0.0)
    assert low <= 4 / 6 <= high


def test_json_has_every_figure(report: Report) -> None:
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    for score in (values["total"], *values["corpora"].values()):
        assert set(FIGURES) <= set(score)
    assert (values["bundle"], values["precision"], values["chunk_ms"]) == ("lean", "int8", 640)
    assert values["total"]["wer"] == 0.666667
    assert len(values["total"]["wer_interval"]) == 2
    assert values["skipped"] == {"with an empty transcript": 3}
    assert values["failures"] == {"[a]/9": "9.wav does not exist"}


def test_json_has_no_latency_unless_it_was_measured(report: Report) -> None:
    for score in (report.to_dict()["total"], *report.to_dict()["corpora"].values()):
        assert "latency" not in score
    assert "word's end" not in drawn(report)


def test_latency() -> None:
    outcome = Outcome((scored("a", "1", "x", "x"), scored("b", "1", "x", "x"), scored("b", "2", "x", "")), ())
    measured = {
        "a/1": Measured(
            tuple(Delay(100.0 * n, 1000.0 + n, 100.0 * n + 7, 1007.0 + n) for n in range(-1, 20))
        ),
        "b/1": Measured(skipped=3),
        "b/2": Measured(skipped=1),
    }
    made = make_report(SETUP, outcome, {}, more=Measures(measured))
    values = json.loads(json.dumps(made.to_dict()))
    first, second = (values["corpora"][name]["latency"] for name in "ab")
    assert (first["words"], first["skipped"]) == (21, 0)
    assert first["first_ms"] == {"p50": 900.0, "p95": 1800.0}
    assert first["final_ms"] == {"p50": 1009.0, "p95": 1018.0}
    assert first["with_processing"]["first_ms"] == {"p50": 907.0, "p95": 1807.0}
    assert first["with_processing"]["final_ms"] == {"p50": 1016.0, "p95": 1025.0}
    assert (second["words"], second["skipped"]) == (0, 4)
    assert second["first_ms"] == {"p50": None, "p95": None}
    assert values["total"]["latency"] == first | {"skipped": 4}
    rows = [line.split() for line in drawn(made).splitlines()]
    assert ["a", "21", "0", "algorithmic", "900", "1800", "1009", "1018"] in rows
    assert ["with", "processing", "907", "1807", "1016", "1025"] in rows
    assert ["b", "0", "4", "algorithmic", "-", "-", "-", "-"] in rows
    assert ["total", "21", "4", "algorithmic", "900", "1800", "1009", "1018"] in rows


def test_the_worst_come_first_and_the_right_not_at_all(report: Report) -> None:
    # Two errors each: the shorter utterance is the worse.
    assert [(one.utterance, one.errors) for one in report.worst] == [("[a]/1", 2), ("b/1", 2)]
    assert report.worst[1].hypothesis == "one too three four"


def test_speakers_of_two_corpora_are_different_people() -> None:
    clips = [scored(corpus, str(n), "a b", "a", speaker=str(n)) for corpus in "xy" for n in range(3)]
    made = make_report(SETUP, Outcome(tuple(clips), ()), {})
    assert (made.total.speakers, made.total.interval_over) == (6, "speakers")
    assert (made.corpora["x"].speakers, made.corpora["x"].interval_over) == (3, "utterances")


def test_a_corpus_of_failures_has_no_rate() -> None:
    failed = Failed(Clip("c", Utterance("9", "9.wav", "x")), "gone")  # type: ignore[arg-type]
    made = make_report(SETUP, Outcome((), (failed,)), {})
    score = made.corpora["c"]
    assert (score.wer, score.cer, score.rtf, score.wer_interval, score.failed) == (None, None, None, None, 1)
    assert "-" in drawn(made)


def test_table(report: Report) -> None:
    text = drawn(report)
    assert "[a]" in text  # a name is not taken for markup
    assert all(one in text for one in ("total", "66.7", "50.0", "0.250", "one too three four", "(nothing)"))
    assert "one too" not in drawn(report, worst=0)


def drawn(report: Report, worst: int = 5) -> str:
    console = Console(width=110)
    with console.capture() as capture:
        for table in tables(report, worst):
            console.print(table)
    return capture.get()
