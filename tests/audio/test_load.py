import os
import re

import numpy as np
import pytest
import soundfile

from leanformer.audio.load import load_audio
from leanformer.errors import AudioError


def refused(path, *words: str) -> str:
    """The message with which a file is refused; it must name the file and hold the words."""
    with pytest.raises(AudioError) as caught:
        load_audio(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def test_a_recording_at_its_own_rate_is_untouched(clip):
    samples = load_audio(clip)
    assert samples.dtype == np.float32
    assert len(samples) == round(7.245 * 16_000)
    np.testing.assert_array_equal(samples, soundfile.read(clip, dtype="float32")[0])


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_16", 1e-4), ("wav", "PCM_24", 1e-6), ("wav", "PCM_32", 1e-6), ("wav", "PCM_U8", 1e-2),
        ("wav", "FLOAT", 0), ("wav", "DOUBLE", 0), ("wav", "ULAW", 5e-2), ("wav", "IMA_ADPCM", 0.3),
        ("flac", "PCM_16", 1e-4), ("aiff", "PCM_16", 1e-4), ("caf", "PCM_16", 1e-4), ("w64", "PCM_16", 1e-4),
        ("rf64", "PCM_16", 1e-4), ("au", "PCM_16", 1e-4), ("ogg", "VORBIS", 0.3), ("mp3", None, 0.3),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_sound(tmp_path, speech, suffix, subtype, tolerance):
    path = tmp_path / f"speech.{suffix}"
    soundfile.write(path, speech, 16_000, subtype=subtype)
    loaded = load_audio(path)
    assert abs(len(loaded) - len(speech)) <= 2000
    shared = min(len(loaded), len(speech))
    np.testing.assert_allclose(loaded[:shared], speech[:shared], atol=tolerance)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_any_rate_in_stereo_gives_the_same_speech(tmp_path, speech, rate):
    path = tmp_path / "speech.wav"
    other = load_audio_at(speech, rate)
    soundfile.write(path, np.stack([other * 0.5, other * 1.5], axis=1), rate, subtype="FLOAT")
    loaded = load_audio(path)
    assert abs(len(loaded) - len(speech)) <= 2
    shared = min(len(loaded), len(speech))
    correlation = np.corrcoef(loaded[:shared], speech[:shared])[0, 1]
    assert correlation > 0.95


def load_audio_at(speech: np.ndarray, rate: int) -> np.ndarray:
    return np.interp(np.arange(0, 3, 1 / rate), np.arange(len(speech)) / 16_000, speech).astype(np.float32)


def test_another_target_rate(clip):
    assert abs(len(load_audio(clip, 8000)) - 57_960) <= 1


def test_a_missing_file(tmp_path):
    refused(tmp_path / "none.wav", "does not exist")


def test_a_directory(tmp_path):
    refused(tmp_path, "is a directory")


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    refused(path, "is empty")


@pytest.mark.parametrize("name", ["notes.wav", "notes.flac", "notes.mp3", "notes"])
def test_text_that_is_named_audio(tmp_path, name):
    path = tmp_path / name
    path.write_text("remember the milk\n" * 50)
    assert "does not exist" not in refused(path, "is not audio that can be read")


def test_raw_samples_without_a_header(tmp_path):
    path = tmp_path / "samples.raw"
    path.write_bytes(bytes(1000))
    refused(path, "raw audio without a header", "standard input")


@pytest.mark.parametrize("share", [0.6, 0.95])
def test_a_truncated_flac(tmp_path, speech, share):
    path = tmp_path / "cut.flac"
    soundfile.write(path, speech, 16_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    message = refused(path, "breaks off after", "copy or convert it again")
    seconds = float(re.search(r"after (\S+) s", message)[1])
    assert 3 * share - 2 <= seconds <= 3 * share + 0.5


def test_a_flac_damaged_in_the_middle(tmp_path, speech):
    path = tmp_path / "damaged.flac"
    soundfile.write(path, speech, 16_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(content)
    refused(path, "breaks off after")


def test_an_ogg_damaged_in_the_middle(tmp_path, speech):
    path = tmp_path / "damaged.ogg"
    soundfile.write(path, speech, 16_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(content)
    refused(path, "breaks off after", "of 3.00 s")


def test_a_truncated_wav(tmp_path, speech):
    path = tmp_path / "cut.wav"
    soundfile.write(path, speech, 16_000)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 20_000])
    refused(path, "breaks off after 1.25 s", "56000 more bytes")


def test_a_wav_header_alone(tmp_path, make_wav):
    path = tmp_path / "header.wav"
    for length in (0, 44, 43, 30, 12, 5):
        path.write_bytes(make_wav(b"")[:length])
        refused(path)


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "ogg", "caf"])
def test_no_samples(tmp_path, suffix):
    path = tmp_path / f"nothing.{suffix}"
    soundfile.write(path, np.zeros(0), 16_000)
    refused(path, "nothing")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_samples(tmp_path, speech, bad):
    path = tmp_path / "bad.wav"
    samples = speech.copy()
    samples[40_000] = bad
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    refused(path, "NaN or infinite")


@pytest.mark.parametrize("rate", [0, 1, 999, 2_000_000, 4_000_000_000])
def test_absurd_rates(tmp_path, make_wav, rate):
    path = tmp_path / "rate.wav"
    path.write_bytes(make_wav(bytes(2000), rate=rate))
    refused(path, f"{rate:g} Hz is impossible")


def test_an_absurd_rate_in_another_format(tmp_path):
    path = tmp_path / "rate.au"
    soundfile.write(path, np.zeros(100), 10)
    refused(path, "10 Hz is impossible")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path, speech):
    path = tmp_path / "secret.wav"
    soundfile.write(path, speech, 16_000)
    path.chmod(0)
    refused(path, "cannot be read")


def test_silence_is_audio(tmp_path):
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    np.testing.assert_array_equal(load_audio(path), np.zeros(16_000))


@pytest.mark.parametrize(("rate", "expected"), [(8000, 2), (16_000, 1), (48_000, 0)])
def test_a_single_sample_is_audio(tmp_path, rate, expected):
    path = tmp_path / "click.wav"
    soundfile.write(path, np.ones(1), rate, subtype="FLOAT")
    assert load_audio(path).shape == (expected,)
