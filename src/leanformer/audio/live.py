"""Audio from a pipe, a socket or standard input, heard while it arrives: WAV, or raw 16-bit samples."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from leanformer.audio.samples import check_rate
from leanformer.audio.source import Source, broken_off
from leanformer.audio.wav import CONVERT_CURE, PCM, WavFormat, read_wav_header
from leanformer.errors import AudioError

# Containers that would sound as noise if their bytes were taken for raw samples.
_MAGIC = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"FORM": "AIFF",
    b"RIFX": "big-endian WAV",
    b"caff": "CAF",
    b".snd": "AU",
    b"ID3\x03": "MP3",
    b"ID3\x04": "MP3",
    b"\x1aE\xdf\xa3": "Matroska or WebM",
}
# A header may declare a little more than was written: programs differ in what they count.
_FORGIVEN_SECONDS = 0.1


def open_live(stream: BinaryIO, name: str, *, block_seconds: float, raw_rate: int) -> Source:
    """Begin to read a live stream.

    A stream that begins with a RIFF (or RF64) header is WAV with PCM or float samples, even if its size
    field is 0 or a placeholder; anything else is raw 16-bit little-endian mono at `raw_rate` Hz.
    Every block is what had arrived, at most `block_seconds` of it: nothing waits for a block to fill.

    Raises AudioError for another container, a damaged WAV header, or an impossible rate.
    """
    reader = _Reader(stream)
    start = reader.exactly(4)
    if start in (b"RIFF", b"RF64"):
        layout = _wav_layout(reader, name)
        start = b""
    elif start in _MAGIC:
        raise AudioError(
            f"{name} is {_MAGIC[start]}, but a stream must be WAV or raw samples; {CONVERT_CURE}"
        )
    else:
        layout = WavFormat(PCM, channels=1, rate=raw_rate, bits=16)
    check_rate(layout.rate, name)
    return Source(name, layout.rate, _blocks(reader, start, layout, name, block_seconds))


def _wav_layout(reader: _Reader, name: str) -> WavFormat:
    if reader.exactly(8)[4:] != b"WAVE":
        raise AudioError(f"{name} is a RIFF file without sound (perhaps AVI); {CONVERT_CURE}")
    return read_wav_header(reader.exactly, name)


def _blocks(
    reader: _Reader, pending: bytes, layout: WavFormat, name: str, block_seconds: float
) -> Iterator[NDArray[np.float32]]:
    most = max(1, round(layout.rate * block_seconds)) * layout.frame_bytes
    done = 0
    while True:
        # A piece may end in the middle of a sample.
        whole = len(pending) - len(pending) % layout.frame_bytes
        if whole:
            yield layout.decode(pending[:whole])
            pending = pending[whole:]
        wanted = most if layout.data_bytes is None else min(most, layout.data_bytes - done)
        piece = reader.available(wanted)
        if not piece:
            break
        done += len(piece)
        pending += piece
    missing = (layout.data_bytes or done) - done
    bytes_per_second = layout.rate * layout.frame_bytes
    if missing > _FORGIVEN_SECONDS * bytes_per_second:
        raise broken_off(name, done / bytes_per_second, f"its header declares {missing} more bytes")


class _Reader:
    """Reads a binary stream without waiting for more than is there."""

    def __init__(self, stream: BinaryIO) -> None:
        # Buffered streams have read1 for this; an unbuffered one's read already behaves so.
        self._read = getattr(stream, "read1", stream.read)

    def available(self, most: int) -> bytes:
        """At least one byte and at most `most`; none only at the end."""
        return bytes(self._read(most) or b"") if most else b""

    def exactly(self, count: int) -> bytes:
        """So many bytes; fewer only at the end."""
        buffer = BytesIO()
        while (missing := count - buffer.tell()) and (piece := self.available(missing)):
            buffer.write(piece)
        return buffer.getvalue()
