"""The front door: files and arrays, chunk sizes, times, and what does not fit together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from leanformer.errors import AudioError, BundleError, ConfigError
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.segmenter import PAUSE_SECONDS

RATE = 16_000


@pytest.fixture(scope="module")
def recognizer(bundle_folder: Path) -> Recognizer:
    return Recognizer.load(bundle_folder)


def test_a_file_and_its_samples_agree(recognizer: Recognizer, speech: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    soundfile.write(path, speech, RATE, subtype="FLOAT")
    whole = recognizer.transcribe(speech, RATE)
    assert recognizer.transcribe(path) == whole
    assert recognizer.transcribe(str(path)) == whole
    assert recognizer.transcribe(speech) == whole
    assert whole.duration == round(len(speech) / RATE, 3)


def test_words_lie_in_the_audio_and_do_not_overlap(recognizer: Recognizer, speech: np.ndarray) -> None:
    transcript = recognizer.transcribe(speech)
    times = [time for word in transcript.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] >= 0.4  # the silence before the first sentence
    assert times[-1] <= transcript.duration
    assert all(word.start < word.end for word in transcript.words)
    first, second = transcript.segments
    assert second.start - first.end >= PAUSE_SECONDS - 0.04
    assert (first.start, first.end) == (first.words[0].start, first.words[-1].end)
    assert transcript.text == f"{first.text} {second.text}"


def test_segments_come_while_blocks_do(recognizer: Recognizer, speech: np.ndarray) -> None:
    fed = 0

    def blocks() -> object:
        nonlocal fed
        for start in range(0, len(speech), 3_000):
            fed += 1
            yield speech[start : start + 3_000]

    segments = recognizer.segments(blocks())
    first = next(segments)
    assert fed < len(speech) / 3_000 * 2 / 3
    assert (first, *segments) == recognizer.transcribe(speech).segments


@pytest.mark.parametrize("chunk_ms", [40, 640, 10_240])
def test_other_chunk_sizes(bundle_folder: Path, speech: np.ndarray, chunk_ms: int) -> None:
    # The counting model hears the same at every chunk size, up to the last, unfinished word.
    expected = Recognizer.load(bundle_folder).transcribe(speech)
    assert Recognizer.load(bundle_folder, chunk_ms=chunk_ms).transcribe(speech) == expected


@pytest.mark.parametrize("chunk_ms", [0, -40, 50, 10_280])
def test_impossible_chunk_sizes(bundle_folder: Path, chunk_ms: int) -> None:
    with pytest.raises(ConfigError, match=r"multiples of 40 ms, up to 10240 ms \(default 320\)"):
        Recognizer.load(bundle_folder, chunk_ms=chunk_ms)


def test_no_samples(recognizer: Recognizer) -> None:
    with pytest.raises(AudioError, match="no samples"):
        recognizer.transcribe(np.zeros(0, np.float32))


def test_nan_is_refused(recognizer: Recognizer, speech: np.ndarray) -> None:
    with pytest.raises(AudioError, match="NaN"):
        recognizer.transcribe(np.where(np.arange(len(speech)) == 40_000, np.nan, speech))


def test_another_models_tokenizer(build_bundle: Callable[..., Path], tmp_path: Path) -> None:
    folder = build_bundle(tmp_path / "bundle", vocabulary_size=99)
    with pytest.raises(BundleError, match=r"tokenizer\.model: 18 pieces, .* trained with 99"):
        Recognizer.load(folder)


def test_name_and_rate(recognizer: Recognizer) -> None:
    assert recognizer.name == "counter int8"
    assert recognizer.sample_rate == RATE
    assert recognizer.chunk_ms == 320
