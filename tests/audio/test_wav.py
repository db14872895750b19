import io
import struct

import numpy as np
import pytest
import soundfile

from leanformer.audio.wav import WavFormat, read_wav_header
from leanformer.errors import AudioError


def header_of(wav: bytes) -> tuple[WavFormat, bytes]:
    """The parsed header of a WAV's bytes, and what follows it."""
    stream = io.BytesIO(wav[12:])
    return read_wav_header(stream.read, "x.wav"), stream.read()


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
def test_decodes_as_libsndfile_does(subtype, container):
    samples = np.random.default_rng(0).uniform(-1, 1, (1001, 3))
    samples[:2] = [[1, -1, 0], [-1, 1, 0.5]]
    stream = io.BytesIO()
    soundfile.write(stream, samples, 44_100, subtype=subtype, format=container)
    layout, rest = header_of(stream.getvalue())
    stream.seek(0)
    expected = soundfile.read(stream, dtype="float32")[0]
    decoded = layout.decode(rest[: layout.data_bytes])
    assert decoded.dtype == np.float32
    assert layout.rate == 44_100
    np.testing.assert_array_equal(decoded, expected)


def test_other_chunks_are_passed_over(make_wav):
    wav = make_wav(b"abcd")
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    layout, rest = header_of(wav[:12] + odd + wav[12:36] + odd + wav[36:])
    assert layout.data_bytes == 4
    assert rest == b"abcd"


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_placeholders_mean_unknown(make_wav, size):
    assert header_of(make_wav(b"", size=size))[0].data_bytes is None


def test_a_size_is_kept(make_wav):
    assert header_of(make_wav(b"", size=0x7000_0000))[0].data_bytes == 0x7000_0000


@pytest.mark.parametrize("change", [{"encoding": 2, "bits": 4}, {"encoding": 7, "bits": 8}, {"bits": 12}])
def test_other_encodings_are_named_with_the_cure(make_wav, change):
    with pytest.raises(AudioError, match=r"x\.wav: WAV encoding \d with \d+ bits cannot be read.*ffmpeg"):
        header_of(make_wav(b"", **change))


def test_a_damaged_header_is_refused(make_wav):
    wav = make_wav(b"abcd")
    for broken in (
        make_wav(b"", channels=0),
        wav[:32] + b"\7\0" + wav[34:],  # bytes a frame that do not fit the rest
        wav[:16] + struct.pack("<I", 2) + wav[20:],  # a format too short
        wav[:16] + struct.pack("<I", 2**32 - 1) + wav[20:],  # a format too long
        wav[:30],
    ):
        with pytest.raises(AudioError, match=r"x\.wav: the WAV header is damaged"):
            header_of(broken)


@pytest.mark.parametrize("length", [12, 15, 36, 43])
def test_a_header_that_ends_early_is_refused(make_wav, length):
    with pytest.raises(AudioError, match=r"x\.wav: the WAV header ends before the samples begin"):
        header_of(make_wav(b"abcd")[:length])


def test_samples_before_their_format_are_refused(make_wav):
    wav = make_wav(b"abcd")
    with pytest.raises(AudioError, match="ends before the samples begin"):
        header_of(wav[:12] + wav[36:])


def test_a_chunk_of_absurd_size_takes_no_memory():
    """A header may declare 4 GB of nothing; it is passed over in small pieces."""
    wanted = []

    def read(count: int) -> bytes:
        wanted.append(count)
        return b"junk\xff\xff\xff\xff" if len(wanted) == 1 else bytes(count) if len(wanted) < 5 else b""

    with pytest.raises(AudioError):
        read_wav_header(read, "x.wav")
    assert max(wanted) <= 65_536
