import io
import os
import threading
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from leanformer.audio.blocks import read_blocks
from leanformer.audio.files import _ForwardFile
from leanformer.audio.load import load_audio
from leanformer.errors import AudioError


class Dribble(io.RawIOBase):
    """A stream whose data arrives in pieces of the given sizes, again and again, like a pipe's."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes, self._at, self._turn = data, sizes, 0, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = min(size, self._sizes[self._turn % len(self._sizes)])
        piece = self._data[self._at : self._at + size]
        self._at, self._turn = self._at + size, self._turn + 1
        return piece


def joined(source, **options) -> np.ndarray:
    return np.concatenate(list(read_blocks(source, **options)))


@pytest.fixture(scope="module")
def files(tmp_path_factory, speech):
    """The same second of speech in formats whose decoders differ, and at other rates in stereo."""
    folder = tmp_path_factory.mktemp("files")
    second, paths = speech[:16_000], []
    for name, rate, subtype in [
        ("a.wav", 16_000, "PCM_16"), ("b.wav", 44_100, "PCM_24"), ("c.flac", 8000, None),
        ("d.mp3", 44_100, None), ("e.ogg", 48_000, "VORBIS"), ("f.opus", 48_000, "OPUS"),
        ("g.wav", 22_050, "IMA_ADPCM"),
    ]:  # fmt: skip
        paths.append(folder / name)
        options = {"bitrate_mode": "VARIABLE"} if name == "d.mp3" else {}
        container = "OGG" if subtype == "OPUS" else None
        stereo = np.stack([second, second * 0.5], axis=1)
        soundfile.write(paths[-1], stereo, rate, subtype=subtype, format=container, **options)
    return paths


@settings(max_examples=40)
@given(data=st.data(), block_seconds=st.floats(1e-3, 2.0))
def test_any_block_size_gives_the_same_samples(files, data, block_seconds):
    path = data.draw(st.sampled_from(files))
    np.testing.assert_array_equal(joined(path, block_seconds=block_seconds), load_audio(path))


def test_blocks_are_no_longer_than_asked(files):
    for path in files:
        assert max(len(block) for block in read_blocks(path, block_seconds=0.1)) <= 1600 + 4000


def test_paths_may_be_strings(clip):
    np.testing.assert_array_equal(joined(str(clip)), load_audio(clip))


def test_memory_does_not_grow_with_the_file(tmp_path, speech):
    def peak(repeats: int) -> int:
        path = tmp_path / f"{repeats}.flac"
        soundfile.write(path, np.tile(speech, repeats), 48_000)
        tracemalloc.start()
        for _ in read_blocks(path):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(1)
    assert peak(40) < 1.2 * peak(4)


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=6), index=st.sampled_from([0, 1]))
def test_a_dribbling_wav_equals_the_file(files, sizes, index):
    path = files[index]
    np.testing.assert_array_equal(joined(Dribble(path.read_bytes(), sizes)), load_audio(path))


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=6))
def test_dribbling_raw_samples_equal_the_wav(files, sizes):
    wav = files[0].read_bytes()
    raw = np.frombuffer(wav[44:], "<i2")[::2].tobytes()
    expected = np.frombuffer(raw, "<i2").astype(np.float32) / 32_768
    np.testing.assert_array_equal(joined(Dribble(raw, sizes)), expected)


def test_raw_samples_are_resampled_from_their_rate(speech):
    raw = (speech * 32_767).astype("<i2").tobytes()
    assert len(joined(io.BytesIO(raw), raw_rate=8000)) == pytest.approx(96_000, abs=1)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_the_shortest_raw_streams(length):
    raw = np.arange(1, 6, dtype=np.int16).tobytes()[:length]
    if length < 2:
        with pytest.raises(AudioError, match="holds no samples"):
            joined(io.BytesIO(raw))
    else:
        assert joined(io.BytesIO(raw)).tolist() == [1 / 32_768, 2 / 32_768][: length // 2]


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_FFFF - 36, 0x7FFF_FFFF])
def test_a_wav_of_unknown_size_on_a_pipe_is_heard_live(make_wav, size):
    """Each piece must come out before the next is written: a reader that waits for more would hang."""
    samples = np.arange(1600, dtype=np.int16)
    header = make_wav(b"", size=size)
    reading, writing = os.pipe()
    watchdog = threading.Timer(10, os.close, [writing])
    watchdog.start()
    with os.fdopen(reading, "rb") as stream:
        os.write(writing, header)
        blocks = read_blocks(stream, block_seconds=0.2)
        for start in range(0, 1600, 160):
            os.write(writing, samples[start : start + 160].tobytes())
            block = next(blocks)
            np.testing.assert_array_equal(block * 32_768, samples[start : start + 160])
        watchdog.cancel()
        os.close(writing)
        assert list(blocks) == []


def test_a_wav_file_of_unknown_size_is_read_to_its_end(tmp_path, make_wav):
    path = tmp_path / "recording.wav"
    path.write_bytes(make_wav(np.arange(1000, dtype=np.int16).tobytes(), size=0))
    assert len(load_audio(path)) == 1000


def test_chunks_behind_the_samples_are_not_heard(make_wav):
    wav = make_wav(np.ones(1000, np.int16).tobytes()) + b"LIST" + bytes(100)
    assert len(joined(io.BytesIO(wav))) == 1000


def test_a_named_pipe_is_a_stream(tmp_path, files):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(files[1].read_bytes()))
    writer.start()
    np.testing.assert_array_equal(joined(path), load_audio(files[1]))
    writer.join()


def test_standard_input(monkeypatch, files):
    with files[0].open("rb") as stream:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
        np.testing.assert_array_equal(joined("-"), load_audio(files[0]))


def test_the_stream_stays_open(files):
    stream = io.BytesIO(files[0].read_bytes())
    joined(stream)
    assert not stream.closed


def test_an_empty_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(AudioError, match="standard input holds no samples"):
        joined("-")


def test_a_live_wav_that_is_cut_off(make_wav):
    wav = make_wav(np.ones(16_000, np.int16).tobytes())[:-16_000]
    heard = []
    with pytest.raises(AudioError, match=r"breaks off after 0.50 s \(its header declares 16000 more bytes\)"):
        heard.extend(read_blocks(io.BytesIO(wav)))
    assert sum(map(len, heard)) == 8000


def test_nan_in_a_live_wav_names_the_second(make_wav):
    samples = np.zeros(32_000, "<f4")
    samples[20_000] = np.nan
    wav = make_wav(samples.tobytes(), encoding=3, bits=32)
    with pytest.raises(AudioError, match=r"at 1.20 s: 1 of 3200 samples are NaN or infinite"):
        joined(io.BytesIO(wav))


@pytest.mark.parametrize(("index", "kind"), [(2, "FLAC"), (4, "Ogg")])
def test_other_containers_on_a_pipe_are_named(files, index, kind):
    with pytest.raises(AudioError, match=rf"is {kind}, but a stream must be WAV or raw.*ffmpeg"):
        joined(io.BytesIO(files[index].read_bytes()))


def test_a_stream_that_cannot_be_read():
    class Broken(io.BytesIO):
        name = "the microphone"

        def read1(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(AudioError, match=r"the microphone cannot be read \(Input/output error\)"):
        joined(Broken())


@pytest.mark.parametrize(
    "options",
    [{"sample_rate": 0}, {"raw_rate": 10**9}, {"block_seconds": 0}, {"block_seconds": float("nan")}],
)
def test_impossible_options(clip, options):
    with pytest.raises(AudioError):
        joined(clip, **options)


def test_a_file_is_closed_when_its_reader_stops_early(clip, monkeypatch):
    closed = []
    monkeypatch.setattr(_ForwardFile, "close", lambda sound: closed.append(sound.name))
    blocks = read_blocks(clip)
    next(blocks)
    assert closed == []
    blocks.close()
    assert closed[:1] == [str(clip)]
