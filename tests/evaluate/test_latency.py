"""A scripted stream whose words come at known moments, and what is measured of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import AudioError
from leanformer.evaluate import latency
from leanformer.evaluate.corpus import Clip
from leanformer.evaluate.evaluate import Scored
from leanformer.evaluate.latency import listen, measure, stable_text
from leanformer.evaluate.wer import count_errors

RATE = 8_000
SAID = "one two three"
# Seconds heard -> (text of the segments that end there, partial from there on, its stable part)
PLAN = {
    0.0: ("", "", ""),
    0.5: ("", "one too", "one"),
    1.0: ("", "one two", "one"),
    1.5: ("one two", "three", ""),
}


class Partial(str):
    stable: str


@dataclass
class Scripted:
    """Says what the plan has for the seconds it heard, and "three" at the end. `work` is told of each call."""

    work: Callable[[float], None] = lambda seconds: None
    told: float = 0.0
    samples: int = 0
    segments: tuple[SimpleNamespace, ...] = ()

    def accept_waveform(self, samples: np.ndarray, sample_rate: int) -> None:
        self.samples += len(samples)
        heard = self.samples / sample_rate
        self.work(heard)
        for moment in sorted(PLAN):
            if self.told < moment <= heard:
                self.told = moment
                self.segments += tuple(SimpleNamespace(text=text) for text in PLAN[moment][:1] if text)

    def take_segments(self) -> tuple[SimpleNamespace, ...]:
        taken, self.segments = self.segments, ()
        return taken

    @property
    def partial(self) -> str:
        partial = Partial(PLAN[self.told][1])
        partial.stable = PLAN[self.told][2]
        return partial

    def finish(self) -> SimpleNamespace:
        self.work(float("inf"))
        return SimpleNamespace(text="Three!")


@pytest.fixture
def scored(tmp_path: Path) -> Scored:
    soundfile.write(tmp_path / "a.wav", np.zeros(2 * RATE), RATE)
    clip = Clip("c", Utterance("a", tmp_path / "a.wav", SAID, seconds=9.0))
    return Scored(clip, SAID, count_errors([SAID], [SAID])[0], 2.0, 1.0)


def one_stream(stream: object) -> SimpleNamespace:
    return SimpleNamespace(stream=lambda: stream)


def test_moments(scored: Scored) -> None:
    ends = {"c/a": (0.25, 0.95, 1.75)}
    (measured,) = measure(one_stream(Scripted()), [scored], ends).values()
    assert measured.skipped == 0
    assert [delay.first for delay in measured.delays] == pytest.approx([250, 50, -250])
    # "one" when stable, "two" when its segment was taken, "three" at the end.
    assert [delay.final for delay in measured.delays] == pytest.approx([250, 550, 250])


def test_without_a_stable_part_words_are_final_with_their_segment(
    scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scripted, "partial", property(lambda self: PLAN[self.told][1]))
    (measured,) = measure(one_stream(Scripted()), [scored], {"c/a": (0.25, 0.95, 1.75)}).values()
    assert [delay.final for delay in measured.delays] == pytest.approx([1250, 550, 250])


def test_snapshots_are_changes_and_the_end(scored: Scored) -> None:
    snapshots = listen(Scripted(), scored.clip.utterance)
    assert [one.fed for one in snapshots] == [0.5, 1.0, 1.5, 2.0]
    assert snapshots[0].final == ("one",)
    assert snapshots[2].shown == snapshots[3].final == ("one", "two", "three")


def test_work_delays_what_comes_after_it(scored: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now)

    def work(heard: float) -> None:
        nonlocal now
        now += {0.5: 0.75, 2.0: 0.125, float("inf"): 1.0}.get(heard, 0.0)

    snapshots = listen(Scripted(work), scored.clip.utterance)
    # At 1.0 s it still works on what it heard at 0.5 s; at 1.5 s it waits for sound again.
    assert [one.done for one in snapshots] == pytest.approx([1.25, 1.25, 1.5, 3.125])
    assert [one.fed for one in snapshots] == [0.5, 1.0, 1.5, 2.0]


def test_only_right_words_count(scored: Scored) -> None:
    said = replace(scored.clip.utterance, text="one four three five")
    wrong = replace(scored, clip=replace(scored.clip, utterance=said))
    (measured,) = measure(one_stream(Scripted()), [wrong], {"c/a": (0.5, 1.0, 1.5, 2.0)}).values()
    assert [delay.first for delay in measured.delays] == pytest.approx([0, 0])


def test_words_without_an_end_are_counted(scored: Scored) -> None:
    partly = replace(scored, errors=count_errors([SAID], ["one four"])[0])
    progress: list[tuple[int, int]] = []
    measured = measure(
        one_stream(None), [partly], {}, jobs=2, progress=lambda *counts: progress.append(counts)
    )
    assert (measured["c/a"].skipped, measured["c/a"].delays) == (1, ())
    assert progress == [(1, 1)]


def test_a_stream_that_fails_loses_its_own_words_only(scored: Scored) -> None:
    class Broken(Scripted):
        def finish(self) -> SimpleNamespace:
            raise AudioError("no more")

    other = replace(scored, clip=replace(scored.clip, corpus="d"))
    streams = iter([Broken(), Scripted()])
    ends = {name: (0.0, 1.0, 2.0) for name in ("c/a", "d/a")}
    measured = measure(SimpleNamespace(stream=lambda: next(streams)), [scored, other], ends)
    assert [(one.skipped, len(one.delays)) for one in measured.values()] == [(3, 0), (0, 3)]


def test_an_excerpt_is_fed_from_its_start(scored: Scored) -> None:
    part = replace(scored.clip.utterance, start=0.5, seconds=0.75)
    assert [one.fed for one in listen(Scripted(), part)] == [0.5, 0.75]


def test_stable_text() -> None:
    assert stable_text("a plain text") == ""
    partial = Partial("it is")
    partial.stable = "it"
    assert stable_text(partial) == "it"
