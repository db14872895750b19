"""From real recordings to text with the shipped model, as a user has it: no torch, any pieces, any rate."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from jiwer import cer, wer

import leanformer
from leanformer import Recognizer

DATA = Path(__file__).parents[1] / "data"
SAMPLE = Path(leanformer.__file__).parent / "models" / "sample.opus"
# What the model reaches on these five clips, with some room; the transcripts in another order give above 0.7.
WORST_CER = 0.45


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load("default")


def test_real_speech_becomes_the_words_that_were_said(recognizer: Recognizer) -> None:
    with (DATA / "utterances.tsv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
    heard = [recognizer.transcribe(DATA / row["path"]).text for row in rows]
    said = [row["text"] for row in rows]
    assert cer(said, heard) < WORST_CER
    assert cer(said[1:] + said[:1], heard) > 0.7  # the bound means something


def test_words_have_times_within_the_recording(recognizer: Recognizer) -> None:
    transcript = recognizer.transcribe(SAMPLE)
    times = [time for word in transcript.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 0.0 <= times[0] < times[-1] <= soundfile.info(SAMPLE).duration


@pytest.mark.parametrize("seed", range(3))
def test_pieces_of_any_size_give_the_text_of_the_whole(recognizer: Recognizer, seed: int) -> None:
    samples, rate = soundfile.read(SAMPLE, dtype="int16")
    rng = np.random.default_rng(seed)
    stream = recognizer.stream()
    place = 0
    while place < len(samples):
        size = int(rng.integers(1, 20_001))
        stream.accept_waveform(samples[place : place + size], rate)
        place += size
    assert stream.finish() == recognizer.transcribe(SAMPLE)


def test_streams_do_not_disturb_each_other(recognizer: Recognizer) -> None:
    samples, rate = soundfile.read(SAMPLE, dtype="float32")
    alone, other = recognizer.stream(), recognizer.stream()
    for start in range(0, len(samples), 5000):
        alone.accept_waveform(samples[start : start + 5000], rate)
        other.accept_waveform(samples[::-1][start : start + 5000], rate)
    assert alone.finish() == recognizer.transcribe(SAMPLE)


def test_two_speakers_in_a_batch_are_heard_as_alone(recognizer: Recognizer) -> None:
    batch, clips = leanformer.Batch(), [SAMPLE, next((DATA / "clips").glob("*.opus"))]
    streams = [recognizer.stream(batch=batch) for _ in clips]
    for stream, clip in zip(streams, clips, strict=True):
        samples, rate = soundfile.read(clip, dtype="int16")
        stream.accept_waveform(samples, rate)
        stream.end()
    while batch.step():
        pass
    alone = [recognizer.transcribe(clip).text for clip in clips]
    # Not to the letter: int8 takes one scale for the whole batch.
    assert cer(alone, [stream.finish().text for stream in streams]) < 0.1
    assert cer(alone, alone[::-1]) > 0.5


def test_another_rate_and_two_channels_say_the_same(recognizer: Recognizer) -> None:
    samples, rate = soundfile.read(SAMPLE, dtype="float32")
    stereo = np.repeat(soxr.resample(samples, rate, 48_000)[:, None], 2, axis=1)
    stream = recognizer.stream()
    stream.accept_waveform(stereo, 48_000)
    same = recognizer.transcribe(SAMPLE).text
    assert wer(same, stream.finish().text) < 0.2  # resampling up and down again is not quite the identity


def test_silence_is_no_word(recognizer: Recognizer) -> None:
    assert recognizer.transcribe(np.zeros(48_000, np.float32)).text == ""


def test_recognition_loads_no_torch() -> None:
    # Beam, language model, hotwords, endpoints, batch and text form; then live captions, of a file for a microphone.
    code = f"""
import sys
import leanformer
import soundfile
from leanformer.cli.app import main
from leanformer.runtime.endpoint import Endpointing

recognizer = leanformer.Recognizer.load(hotwords=["faintly"], text_form=str.upper)
assert recognizer.transcribe({str(SAMPLE)!r}, endpoint=Endpointing()).text.isupper()
samples, rate = soundfile.read({str(SAMPLE)!r}, dtype="int16")
batch = leanformer.Batch()
stream = recognizer.stream(hotwords=["hand"], batch=batch)
stream.accept_waveform(samples, rate)
assert "HAND" in stream.finish().text
assert main(["mic", "--device", {str(SAMPLE)!r}]) == 0
assert not {{"torch", "lightning", "lhotse", "pydantic"}} & set(sys.modules), "loaded"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
