"""Every clip gets its own text or its own reason."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import AudioError
from leanformer.evaluate import evaluate as evaluate_module
from leanformer.evaluate.corpus import Clip, read_clips
from leanformer.evaluate.evaluate import evaluate


@pytest.fixture
def clips(corpus: Callable[..., Path]) -> tuple[Clip, ...]:
    rows = (("a", "1", "dev", "one two"), ("b", "1", "dev", "three"), ("c", "2", "dev", "four five six"))
    return read_clips([corpus("c", *rows)]).clips


@pytest.mark.parametrize("jobs", [1, 3])
def test_each_clip_is_compared_with_its_own_text(
    clips: tuple[Clip, ...], fake: Callable[..., object], jobs: int
) -> None:
    seen: list[tuple[int, int]] = []
    heard = fake(a="one two", b="tree", c="four six")
    outcome = evaluate(heard, clips, jobs=jobs, progress=lambda *step: seen.append(step))  # type: ignore[arg-type]
    found = [(one.clip.utterance.id, one.hypothesis, one.errors.word_errors) for one in outcome.scored]
    assert found == [("a", "one two", 0), ("b", "tree", 1), ("c", "four six", 1)]
    assert (outcome.failed, seen) == ((), [(1, 3), (2, 3), (3, 3)])
    assert [one.audio_seconds for one in outcome.scored] == [2.0] * 3


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_clip_that_fails_does_not_stop_the_others(
    clips: tuple[Clip, ...], fake: Callable[..., object], broken_off: AudioError, jobs: int
) -> None:
    outcome = evaluate(fake(a=broken_off, b=RuntimeError("odd"), c="four five six"), clips, jobs=jobs)  # type: ignore[arg-type]
    assert [one.clip.utterance.id for one in outcome.scored] == ["c"]
    assert [one.reason for one in outcome.failed] == [
        str(broken_off),
        f"{clips[1].utterance.path}: RuntimeError: odd",
    ]


def test_an_interruption_is_no_failed_clip(clips: tuple[Clip, ...]) -> None:
    class Interrupted:
        def transcribe(self, audio: object, sample_rate: int | None = None) -> object:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(Interrupted(), clips)  # type: ignore[arg-type]


def test_jobs_run_at_the_same_time(clips: tuple[Clip, ...], fake: Callable[..., object]) -> None:
    together = threading.Barrier(3, timeout=10)  # broken, and so an error, unless all three meet
    heard = fake(a="", b="", c="")

    class Meeting:
        def transcribe(self, audio: object, sample_rate: int | None = None) -> object:
            together.wait()
            return heard.transcribe(audio)  # type: ignore[attr-defined]

    assert len(evaluate(Meeting(), clips, jobs=3).scored) == 3  # type: ignore[arg-type]


def test_the_time_of_a_clip_is_its_own(
    clips: tuple[Clip, ...], fake: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, now = fake(a="", b="", c=""), 100.0
    monkeypatch.setattr(evaluate_module.time, "perf_counter", lambda: now)

    class Slow:
        def transcribe(self, audio: Path, sample_rate: int | None = None) -> object:
            nonlocal now
            now += {"a": 1.0, "b": 4.0, "c": 0.5}[audio.stem]
            return heard.transcribe(audio)  # type: ignore[attr-defined]

    times = [one.busy_seconds for one in evaluate(Slow(), clips).scored]  # type: ignore[arg-type]
    assert times == [1.0, 4.0, 0.5]


def test_an_excerpt_is_cut_out(tmp_path: Path, fake: Callable[..., object]) -> None:
    path = tmp_path / "long.wav"
    samples = np.arange(8_000, dtype=np.int16)
    soundfile.write(path, np.stack([samples, -samples], axis=1), 8_000)
    cut = Utterance("u", path, "x", start=0.25, seconds=0.5, channel=1)
    recognizer = fake(array="x")
    clips = [Clip("c", cut), Clip("c", replace(cut, channel=None))]
    outcome = evaluate(recognizer, clips)  # type: ignore[arg-type]
    (one, rate), (both, _) = recognizer.arrays  # type: ignore[attr-defined]
    assert (rate, one.shape, both.shape) == (8_000, (4_000, 1), (4_000, 2))
    np.testing.assert_array_equal(one[:, 0] * 32_768, -samples[2_000:6_000])
    np.testing.assert_array_equal(both[:, 0] * 32_768, samples[2_000:6_000])
    assert [one.audio_seconds for one in outcome.scored] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start": 9.0}, r"no samples at 9\.00 s"),
        ({"channel": 2}, "has 1 channels, so there is no channel 2"),
        ({"path": Path("nowhere.wav")}, "nowhere.wav does not exist"),
        ({"path": Path(__file__)}, "cannot be read"),
    ],
)
def test_a_wrong_excerpt_is_told(
    tmp_path: Path, fake: Callable[..., object], change: dict[str, object], reason: str
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8_000), 8_000)
    cut = replace(Utterance("u", tmp_path / "a.wav", "x", start=0.0, seconds=1.0), **change)  # type: ignore[arg-type]
    (failed,) = evaluate(fake(array="x"), [Clip("c", cut)]).failed  # type: ignore[arg-type]
    with pytest.raises(AudioError, match=reason):
        raise AudioError(failed.reason)
