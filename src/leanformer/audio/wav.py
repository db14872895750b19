"""The WAV header and its samples, read forward only: a WAV on a pipe can be heard while it is written.

libsndfile needs to seek, and a program that writes a WAV into a pipe cannot know its size: it leaves 0 or a
huge number in the header, which means "until the end". (RIFF WAVE: Microsoft, "Multimedia programming
interface and data specifications 1.0"; the extensible format and its sub-format: mmreg.h.)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leanformer.errors import AudioError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
# Sizes from here on are placeholders: ffmpeg writes 0xFFFFFFFF, sox 0x7FFFFFFF less its header.
UNKNOWN_SIZE = 0x7FFF_0000
CONVERT_CURE = "convert it to 16-bit PCM first, for instance with `ffmpeg -i INPUT -c:a pcm_s16le -f wav -`"


@dataclass(frozen=True)
class WavFormat:
    """How samples lie in a stream: `encoding` is PCM or FLOAT, little-endian, channels interleaved.

    `data_bytes` is the size that the header declares, None when it is unknown.
    """

    encoding: int
    channels: int
    rate: int
    bits: int
    data_bytes: int | None = None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Whole frames of bytes to float32 (n, channels) in [-1, 1], as libsndfile scales them."""
        return _DECODERS[self.encoding, self.bits](data).reshape(-1, self.channels)


def read_wav_header(read: Callable[[int], bytes], name: str) -> WavFormat:
    """Read from behind "RIFF....WAVE" up to the first sample.

    Args:
        read: gives exactly so many bytes, fewer only at the end.
        name: of the stream, for messages.

    Raises AudioError when the header is cut off or damaged, or the encoding is compressed.
    """
    layout: WavFormat | None = None
    while len(head := read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        if kind == b"data" and layout is not None:
            known = 0 < size < UNKNOWN_SIZE
            return WavFormat(
                layout.encoding, layout.channels, layout.rate, layout.bits, size if known else None
            )
        if kind == b"fmt ":
            layout = _parse_format(_read_chunk(read, size, 16, name), name)
        else:
            _skip(read, size + size % 2)
    raise AudioError(f"{name}: the WAV header ends before the samples begin; write or copy it again")


def _read_chunk(read: Callable[[int], bytes], size: int, least: int, name: str) -> bytes:
    if not least <= size <= 4_096 or len(chunk := read(size + size % 2)) < size:
        raise AudioError(f"{name}: the WAV header is damaged; write or copy it again")
    return chunk


def _skip(read: Callable[[int], bytes], size: int) -> None:
    while size > 0 and (piece := read(min(size, 65_536))):
        size -= len(piece)


def _parse_format(chunk: bytes, name: str) -> WavFormat:
    encoding, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if encoding == EXTENSIBLE and len(chunk) >= 26:
        (encoding,) = struct.unpack_from("<H", chunk, 24)
    if (encoding, bits) not in _DECODERS:
        raise AudioError(
            f"{name}: WAV encoding {encoding} with {bits} bits cannot be read from a stream; {CONVERT_CURE}"
        )
    layout = WavFormat(encoding, channels, rate, bits)
    if channels == 0 or layout.frame_bytes != frame_bytes:
        raise AudioError(f"{name}: the WAV header is damaged; write or copy it again")
    return layout


def _unsigned_8(data: bytes) -> NDArray[np.float32]:
    return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)


def _signed_16(data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(2**15)


def _signed_24(data: bytes) -> NDArray[np.float32]:
    # Into the upper three bytes of 32-bit integers, which keeps the sign.
    padded = np.zeros((len(data) // 3, 4), np.uint8)
    padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return _signed_32(padded.tobytes())


def _signed_32(data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, "<i4").astype(np.float32) / np.float32(2**31)


def _float_32(data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, "<f4").astype(np.float32)


def _float_64(data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, "<f8").astype(np.float32)


_DECODERS: dict[tuple[int, int], Callable[[bytes], NDArray[np.float32]]] = {
    (PCM, 8): _unsigned_8,
    (PCM, 16): _signed_16,
    (PCM, 24): _signed_24,
    (PCM, 32): _signed_32,
    (FLOAT, 32): _float_32,
    (FLOAT, 64): _float_64,
}
