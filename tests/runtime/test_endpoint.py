"""Where utterances end: the rules, and what becomes of a stream's words."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leanformer.errors import ConfigError
from leanformer.runtime.endpoint import AFTER_SPEECH, WITHOUT_SPEECH, Endpointer, Endpointing, Rule
from leanformer.runtime.events import Endpoint, Event, Final, PartialText
from leanformer.runtime.recognizer import Recognizer

RATE = 16_000
WINDOW = 512 / RATE
Noise = Callable[[float], np.ndarray]


class Loudness:
    """A voice detector for the noise that the test bundle takes for speech."""

    sample_rate = RATE
    window = 512

    def __call__(self, samples: np.ndarray) -> float:
        return float(np.abs(samples).mean() > 0.01)


class Deaf(Loudness):
    """It hears no voice, ever."""

    def __call__(self, samples: np.ndarray) -> float:
        return 0.0


HOW = Endpointing(voice=Loudness)


@pytest.fixture(scope="module")
def recognizer(bundle_folder: Path) -> Recognizer:
    return Recognizer.load(bundle_folder)


@pytest.fixture(scope="module")
def cascade(cascade_folder: Path) -> Recognizer:
    return Recognizer.load(cascade_folder)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def events_of(
    recognizer: Recognizer, samples: np.ndarray, how: Endpointing | None = HOW, step: int = 1_600
) -> list[Event]:
    pieces = (samples[start : start + step] for start in range(0, len(samples), step))
    return [one for one in recognizer.events(pieces, endpoint=how) if not isinstance(one, PartialText)]


def endpointer(voices: list[float], how: Endpointing = HOW) -> tuple[Endpointer, float]:
    """One that has heard these windows, and the time."""
    found = Endpointer(how)
    for place, voice in enumerate(voices, start=1):
        found.hear(voice, place * WINDOW)
    return found, len(voices) * WINDOW


@pytest.mark.parametrize(("windows", "ends"), [(21, False), (22, True)])
def test_a_pause_after_speech_ends_an_utterance(windows: int, ends: bool) -> None:
    found, now = endpointer([0.9] * 10 + [0.0] * windows)
    assert (found.rule(now) == AFTER_SPEECH) is ends


@pytest.mark.parametrize(("windows", "ends"), [(156, False), (157, True)])
def test_silence_without_speech_ends_one_much_later(windows: int, ends: bool) -> None:
    found, now = endpointer([0.0] * windows)
    assert (found.rule(now) == WITHOUT_SPEECH) is ends


def test_a_long_utterance_ends_with_a_short_pause() -> None:
    short, now = endpointer([0.9] * 100 + [0.0] * 14)
    assert short.rule(now) is None
    long, now = endpointer([0.9] * 320 + [0.0] * 14)
    assert long.rule(now) is not None
    assert long.rule(now).name == "short pause"  # type: ignore[union-attr]


def test_a_voice_begins_above_one_threshold_and_ends_below_another() -> None:
    found = Endpointer(HOW)
    starts = [
        found.hear(voice, (place + 1) * WINDOW) for place, voice in enumerate([0.4, 0.6, 0.4, 0.3, 0.4])
    ]
    assert starts == [False, True, False, False, False]
    assert found.speech_end == pytest.approx(3 * WINDOW)


def test_a_word_in_the_last_moment_holds_an_endpoint_back() -> None:
    found, now = endpointer([0.9] * 10 + [0.0] * 30)
    found.word(now - 0.2)
    assert found.rule(now) is None
    assert found.rule(now + 0.1) == AFTER_SPEECH


def test_words_that_the_detector_misses_are_speech() -> None:
    found, now = endpointer([0.0] * 60)
    found.word(now - 0.5)
    assert found.rule(now) is None
    assert found.rule(now + 0.2) == AFTER_SPEECH


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (dict(rules=()), "at least one"),
        (dict(rules=(Rule("quick", 0.05),)), "'quick' is 0.05 s"),
        (dict(rules=(Rule("never", float("nan")),)), "'never' is nan s"),
        (dict(longest=0.0), "longest is 0 s"),
        (dict(padding=-1.0), "padding is -1 s"),
        (dict(threshold=0.2), "release = 0.35"),
    ],
)
def test_impossible_values_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Endpointing(**wrong)  # type: ignore[arg-type]


def test_a_detector_for_another_rate_is_refused(recognizer: Recognizer) -> None:
    class Narrow(Loudness):
        sample_rate = 8_000

    with pytest.raises(ConfigError, match="hears 8000 Hz, but the model 16000"):
        recognizer.stream(endpoint=Endpointing(voice=Narrow))


def test_each_utterance_is_a_segment_with_an_endpoint(recognizer: Recognizer, noise: Noise) -> None:
    samples = np.concatenate([silence(0.5), noise(1.5), silence(1.2), noise(2.0), silence(1.2)])
    found = events_of(recognizer, samples)
    assert [type(one) for one in found] == [Final, Endpoint, Final, Endpoint]
    first, second = (one for one in found if isinstance(one, Endpoint))
    assert (first.rule, second.rule) == ("pause", "pause")
    assert first.speech_end == pytest.approx(2.0, abs=0.04)
    assert first.time == pytest.approx(2.7, abs=0.07)
    assert second.speech_end == pytest.approx(5.2, abs=0.04)
    words = [one.segment for one in found if isinstance(one, Final)]
    assert 0.5 <= words[0].start < words[0].end <= 2.1
    assert 3.2 <= words[1].start < words[1].end <= 5.3


def test_an_utterance_is_heard_as_a_recording_of_its_own(recognizer: Recognizer, noise: Noise) -> None:
    # Not so without endpoints: the bundle counts on, and says other words.
    spoken = noise(2.0)
    alone = recognizer.transcribe(np.concatenate([silence(0.4), spoken, silence(1)])).text
    samples = np.concatenate([noise(1.1), silence(2.01), spoken, silence(1)])
    assert events_of(recognizer, samples)[2].text == alone  # type: ignore[union-attr]
    assert alone not in recognizer.transcribe(samples).text


@given(sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=8), passes=st.integers(1, 2))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_pieces_give_the_same_events(
    recognizer: Recognizer, cascade: Recognizer, speech: np.ndarray, sizes: list[int], passes: int
) -> None:
    chosen = recognizer if passes == 1 else cascade
    samples = np.concatenate([speech, silence(0.9), speech])
    sizes, start, turn, pieces = [*sizes, 5_000], 0, 0, []
    while start < len(samples):
        pieces.append(samples[start : start + sizes[turn % len(sizes)]])
        start, turn = start + sizes[turn % len(sizes)], turn + 1
    found = [one for one in chosen.events(pieces, endpoint=HOW) if not isinstance(one, PartialText)]
    assert found == events_of(chosen, samples, step=len(samples))
    assert sum(isinstance(one, Endpoint) for one in found) >= 2


def test_silence_gives_endpoints_without_words(recognizer: Recognizer) -> None:
    found = events_of(recognizer, silence(11))
    assert [type(one) for one in found] == [Endpoint, Endpoint]
    assert {one.rule for one in found if isinstance(one, Endpoint)} == {"silence"}


@pytest.mark.parametrize("chunk_ms", [320, 10_240])
def test_words_that_no_voice_was_heard_for_are_kept(bundle_folder: Path, noise: Noise, chunk_ms: int) -> None:
    # The detector wakes up in the middle: what the model has heard before is not begun anew.
    class Late(Loudness):
        def __init__(self) -> None:
            self.heard = 0

        def __call__(self, samples: np.ndarray) -> float:
            self.heard += 1
            return float(self.heard * 512 / RATE > 1.5) and super().__call__(samples)

    recognizer = Recognizer.load(bundle_folder, chunk_ms=chunk_ms)
    samples = np.concatenate([silence(0.4), noise(2.6), silence(1.5)])
    expected = recognizer.transcribe(samples).text
    late = [
        one.text for one in events_of(recognizer, samples, Endpointing(voice=Late)) if isinstance(one, Final)
    ]
    assert late == [expected]
    if chunk_ms > 1_000:  # nothing but a voice has the model asked before its chunk is full
        return
    deaf = [
        one.text for one in events_of(recognizer, samples, Endpointing(voice=Deaf)) if isinstance(one, Final)
    ]
    assert deaf == [expected]


def test_a_word_in_the_frames_that_the_model_has_not_heard_is_not_cut(
    build_bundle: Callable[..., Path], tmp_path: Path, noise: Noise
) -> None:
    # With chunks of 10 s the model is asked at the rule, and says that somebody speaks all the while.
    class Startled(Loudness):
        def __init__(self) -> None:
            self.heard = 0

        def __call__(self, samples: np.ndarray) -> float:
            self.heard += 1
            return float(self.heard == 12)

    recognizer = Recognizer.load(build_bundle(tmp_path / "slow"), chunk_ms=10_240)
    samples = noise(4.0)
    found = events_of(recognizer, samples, Endpointing(voice=Startled))
    assert [type(one) for one in found] == [Final]
    assert found[0].text == recognizer.transcribe(samples).text  # type: ignore[union-attr]


def test_endless_speech_is_cut_between_words_and_not_begun_anew(recognizer: Recognizer, noise: Noise) -> None:
    samples = noise(9.0)
    found = events_of(recognizer, samples, replace(HOW, longest=3.0))
    assert len(found) >= 3
    assert all(isinstance(one, Final) for one in found)
    text = " ".join(one.text for one in found if isinstance(one, Final))
    assert text == recognizer.transcribe(samples).text


def test_the_last_words_need_no_endpoint(recognizer: Recognizer, noise: Noise) -> None:
    found = events_of(recognizer, np.concatenate([silence(0.4), noise(1.5)]))
    assert [type(one) for one in found] == [Final]


def test_partial_texts_end_with_the_final_one(recognizer: Recognizer, speech: np.ndarray) -> None:
    pieces = [speech[start : start + 1_600] for start in range(0, len(speech), 1_600)]
    open_text, finals = "", []
    for event in recognizer.events(pieces, endpoint=HOW):
        if isinstance(event, PartialText):
            assert event.text != open_text
            open_text = event.text
        elif isinstance(event, Final):
            assert event.text.startswith(open_text.rsplit(" ", 1)[0])
            finals.append(event.text)
            open_text = ""
    assert len(finals) == 2


def test_events_and_segments_are_taken_once(recognizer: Recognizer, speech: np.ndarray) -> None:
    stream = recognizer.stream(endpoint=HOW)
    stream.accept_waveform(np.concatenate([speech, silence(1)]), RATE)
    assert sum(isinstance(one, Final) for one in stream.take_events()) == 2
    assert stream.take_events() == stream.take_segments() == stream.finish().segments == ()


def test_memory_does_not_grow_with_the_stream(recognizer: Recognizer, speech: np.ndarray) -> None:
    stream = recognizer.stream(endpoint=HOW)

    def hear_a_while() -> int:
        for _ in range(2):
            stream.accept_waveform(speech, RATE)
            stream.take_events()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        hear_a_while()
        before = hear_a_while()
        assert hear_a_while() - before < 20_000
    finally:
        tracemalloc.stop()
