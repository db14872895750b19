"""A stream's text depends on its samples alone, not on how they came."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leanformer.errors import AudioError, LeanformerError
from leanformer.features.spec import FeatureSpec
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.session import Session
from leanformer.runtime.transcript import Transcript

RATE = 16_000


@pytest.fixture(scope="module")
def recognizer(bundle_folder: Path) -> Recognizer:
    return Recognizer.load(bundle_folder)


def in_pieces(recognizer: Recognizer, samples: np.ndarray, rate: int, sizes: list[int]) -> Transcript:
    """The transcript of `samples` in pieces of these sizes, again and again."""
    stream = recognizer.stream()
    start = turn = 0
    while start < len(samples):
        size = sizes[turn % len(sizes)]
        stream.accept_waveform(samples[start : start + size], rate)
        start, turn = start + size, turn + 1
    return stream.finish()


@given(sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=8))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_pieces_give_the_whole_files_words(
    recognizer: Recognizer, speech: np.ndarray, sizes: list[int]
) -> None:
    sizes = [*sizes, 5_000]  # not only pieces of one sample
    assert in_pieces(recognizer, speech, RATE, sizes) == recognizer.transcribe(speech, RATE)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_any_pieces_give_the_same_at_other_rates(
    recognizer: Recognizer, speech: np.ndarray, rate: int
) -> None:
    samples = soxr.resample(speech, RATE, rate)
    whole = recognizer.transcribe(samples, rate)
    assert whole.words
    assert in_pieces(recognizer, samples, rate, [1, 17, 9_999, 400]) == whole


def test_text_has_real_words(recognizer: Recognizer, speech: np.ndarray) -> None:
    # The control of the equality tests: text that is empty or constant would pass them.
    transcript = recognizer.transcribe(speech, RATE)
    assert len(transcript.segments) == 2
    assert len(transcript.words) > 3
    assert transcript.text != recognizer.transcribe(speech[: len(speech) // 2], RATE).text


def test_dropped_state_changes_the_text(bundle_folder: Path, speech: np.ndarray) -> None:
    class Forgetful(Session):
        def step(self, features, lengths, state, reads):  # type: ignore[no-untyped-def]
            log_probs, log_prob_lengths, _ = super().step(features, lengths, state, reads)
            return log_probs, log_prob_lengths, self.initial_state(len(features))

    recognizer = Recognizer.load(bundle_folder)
    whole = recognizer.transcribe(speech, RATE)
    recognizer._session = Forgetful(recognizer._session.bundle)
    assert recognizer.transcribe(speech, RATE).text != whole.text


class Watched(Session):
    """Remembers the features and lengths of every step."""

    def step(self, features, lengths, state, reads):  # type: ignore[no-untyped-def]
        self.seen = [*getattr(self, "seen", []), (features.copy(), int(lengths[0]))]
        return super().step(features, lengths, state, reads)


@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_the_model_sees_every_frame_in_whole_chunks(
    bundle_folder: Path, speech: np.ndarray, rate: int
) -> None:
    recognizer = Recognizer.load(bundle_folder)
    recognizer._session = session = Watched(recognizer._session.bundle)
    samples = speech if rate == RATE else soxr.resample(speech, RATE, rate)
    recognizer.transcribe(samples, rate)
    *steps, (last, valid) = session.seen
    assert {features.shape for features, _ in session.seen} == {(1, 32, 80)}
    assert all(length == 32 for _, length in steps)
    assert sum(length for _, length in session.seen) == FeatureSpec().frames(len(speech))
    assert 0 < valid < 32
    assert not last[:, valid:].any()
    assert last[:, :valid].any()


def test_the_last_word_ends_with_the_audio(
    recognizer: Recognizer, noise: Callable[[float], np.ndarray]
) -> None:
    endings = []
    for frames in range(48):  # every way for the last frames to fill an encoder frame in part
        silence = np.zeros(160 * (frames % 4), np.float32)
        samples = np.concatenate([silence, noise(1 + 0.01 * (frames // 4))])
        transcript = recognizer.transcribe(samples)
        endings.append(transcript.duration - transcript.words[-1].end)
        assert transcript.words[-1].start < transcript.words[-1].end
    assert min(endings) == 0


def test_streams_share_nothing_but_the_weights(recognizer: Recognizer, speech: np.ndarray) -> None:
    one, other = recognizer.stream(), recognizer.stream()
    for start in range(0, len(speech), 3_000):
        one.accept_waveform(speech[start : start + 3_000], RATE)
        other.accept_waveform(np.flip(speech)[start : start + 3_000], RATE)
    assert one.finish() == recognizer.transcribe(speech, RATE)
    assert other.finish() == recognizer.transcribe(np.flip(speech), RATE)


def test_int16_and_stereo_give_the_same_words(recognizer: Recognizer, speech: np.ndarray) -> None:
    whole = recognizer.transcribe(speech, RATE)
    as_integers = (speech * 32_767).astype(np.int16)
    assert recognizer.transcribe(as_integers, RATE) == whole
    assert recognizer.transcribe(np.stack([speech, speech], axis=1), RATE) == whole


def test_partial_grows_to_the_final_text(recognizer: Recognizer, speech: np.ndarray) -> None:
    stream = recognizer.stream()
    partials = []
    for start in range(0, len(speech), 4_000):
        stream.accept_waveform(speech[start : start + 4_000], RATE)
        partials.append(stream.partial)
    final = stream.finish().text
    assert stream.partial == final
    assert partials[0] == ""
    assert len(set(partials)) > 3
    for earlier, later in zip(partials, [*partials[1:], final], strict=True):
        assert later.startswith(earlier)


def test_taken_segments_are_complete_and_taken_once(recognizer: Recognizer, speech: np.ndarray) -> None:
    whole = recognizer.transcribe(speech, RATE)
    stream = recognizer.stream()
    taken = []
    for start in range(0, len(speech), 4_000):
        stream.accept_waveform(speech[start : start + 4_000], RATE)
        taken.append(stream.take_segments())
    assert [segment for some in taken for segment in some] == [whole.segments[0]]
    # The pause closed it: it was there well before the end.
    assert any(taken[: len(taken) * 2 // 3])
    assert stream.finish().segments == whole.segments[1:]


def test_silence_and_scraps_give_empty_text(recognizer: Recognizer) -> None:
    assert recognizer.transcribe(np.zeros(3 * RATE, np.float32), RATE).text == ""
    assert recognizer.transcribe(np.zeros(3, np.float32), RATE).segments == ()
    assert recognizer.stream().finish() == Transcript((), 0.0)


def test_finish_ends_the_stream(recognizer: Recognizer, speech: np.ndarray) -> None:
    stream = recognizer.stream()
    stream.accept_waveform(speech, RATE)
    transcript = stream.finish()
    assert stream.finish() is transcript
    with pytest.raises(LeanformerError, match="finished"):
        stream.accept_waveform(speech, RATE)


def test_rate_may_not_change(recognizer: Recognizer, speech: np.ndarray) -> None:
    stream = recognizer.stream()
    stream.accept_waveform(speech[:100], RATE)
    with pytest.raises(AudioError, match="from 16000 to 8000 Hz"):
        stream.accept_waveform(speech[:100], 8_000)


@pytest.mark.parametrize("rate", [0, -16_000, 10_000_000])
def test_absurd_rates_are_refused(recognizer: Recognizer, speech: np.ndarray, rate: int) -> None:
    with pytest.raises(AudioError):
        recognizer.stream().accept_waveform(speech[:100], rate)


def test_memory_does_not_grow_with_the_stream(recognizer: Recognizer, speech: np.ndarray) -> None:
    stream = recognizer.stream()

    def hear_a_while() -> int:
        for _ in range(2):
            stream.accept_waveform(speech, RATE)
            stream.take_segments()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        hear_a_while()
        before = hear_a_while()
        assert hear_a_while() - before < 20_000
    finally:
        tracemalloc.stop()
