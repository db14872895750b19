"""Sound files of every format that libsndfile reads, block by block in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from leanformer.audio.live import open_live
from leanformer.audio.samples import check_rate
from leanformer.audio.source import Source, broken_off
from leanformer.audio.wav import read_wav_header
from leanformer.errors import AudioError


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # it has no types
    """A sound file that is only read onwards.

    soundfile seeks after every read of a seekable file, which is slow, and in MP3 and Opus not exact: the
    samples would depend on the block size.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def open_file(path: Path, *, block_seconds: float, raw_rate: int) -> Iterator[Source]:
    """Open a sound file, or a named pipe or device as a live stream, and close it afterwards.

    Raises AudioError when it is missing, a directory, empty, not audio, or of impossible rate, and OSError
    when the system refuses to read it.
    """
    _check_path(path)
    # Pipes cannot be sought in; and libsndfile takes a WAV of unknown size for empty, a cut one for whole.
    if not path.is_file() or _is_plain_wav(path):
        with path.open("rb") as stream:
            yield open_live(stream, str(path), block_seconds=block_seconds, raw_rate=raw_rate)
    else:
        with _open_sound(path) as sound:
            check_rate(sound.samplerate, str(path))
            yield Source(str(path), sound.samplerate, _blocks(sound, path, block_seconds))


def _check_path(path: Path) -> None:
    if not path.exists():
        raise AudioError(f"{path} does not exist; check the name")
    if path.is_dir():
        raise AudioError(f"{path} is a directory, not a sound file; give a file in it")
    if path.is_file() and path.stat().st_size == 0:
        raise AudioError(f"{path} is empty (0 bytes); copy or record it again")


def _is_plain_wav(path: Path) -> bool:
    """Whether this is a WAV that `live` can read: PCM or float, not compressed."""
    with path.open("rb") as stream:
        if stream.read(4) != b"RIFF" or stream.read(8)[4:] != b"WAVE":
            return False
        try:
            read_wav_header(stream.read, str(path))
        except AudioError:
            return False
        return True


def _open_sound(path: Path) -> _ForwardFile:
    try:
        return _ForwardFile(path)
    except TypeError as error:
        # soundfile refuses names that end in .raw: there is nothing to tell it the format.
        raise AudioError(
            f"{path} is raw audio without a header; pipe it to standard input instead"
        ) from error
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"{path} is not audio that can be read ({_reason(error)}); give WAV, FLAC, Ogg, Opus or MP3"
        ) from error


def _blocks(sound: _ForwardFile, path: Path, block_seconds: float) -> Iterator[NDArray[np.float32]]:
    size = max(1, round(sound.samplerate * block_seconds))
    done = 0
    while True:
        try:
            block = sound.read(size, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise broken_off(str(path), done / sound.samplerate, _reason(error)) from error
        if not len(block):
            break
        done += len(block)
        yield block
    # An MP3's length is only an estimate.
    if done < sound.frames and sound.format != "MP3":
        raise broken_off(str(path), done / sound.samplerate, f"of {sound.frames / sound.samplerate:.2f} s")


def _reason(error: soundfile.SoundFileError) -> str:
    """libsndfile's words alone: its message repeats the file name and ends in a full stop."""
    words = str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(". ").lower()
    # Its MP3 decoder says so of a file that is there, but holds no MP3.
    return "no sound found in it" if words.startswith("file does not exist") else words
