"""Sound as a stream of small blocks: what the recogniser hears, from a file or while it is being spoken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from leanformer.audio.files import open_file
from leanformer.audio.live import open_live
from leanformer.audio.samples import StreamResampler, as_float_mono, check_rate
from leanformer.audio.source import Source
from leanformer.errors import AudioError


def read_blocks(
    source: str | Path | BinaryIO,
    *,
    block_seconds: float = 0.2,
    sample_rate: int = 16_000,
    raw_rate: int = 16_000,
) -> Iterator[NDArray[np.float32]]:
    """Read audio as blocks of float32 mono samples (n,) at `sample_rate`, in constant memory.

    Joined together, the blocks are the same samples for every `block_seconds` and every timing.

    Args:
        source: a path; "-" for standard input; or a binary stream, which is not closed. Files may have any
            format libsndfile reads, any rate and any number of channels. Streams (and named pipes) are
            WAV, or else raw 16-bit little-endian mono at `raw_rate` Hz, and are heard as they arrive.
        block_seconds: the most that one block is read from; resampling may make it differ a little.
        sample_rate: of the blocks, in Hz.
        raw_rate: of raw streams, in Hz.

    Raises AudioError, at the first block, for a source that is missing, a directory, empty, not audio, or of
    an impossible rate; and where the sound breaks off, or holds NaN or infinite samples, or none at all.
    """
    check_rate(sample_rate, "output")
    check_rate(raw_rate, "raw input")
    if not block_seconds > 0:
        raise AudioError(f"block_seconds = {block_seconds}: blocks must be longer than 0 s")
    try:
        with _open(source, block_seconds, raw_rate) as opened:
            yield from _converted(opened, sample_rate)
    except OSError as error:
        raise AudioError(f"{_name(source)} cannot be read ({error.strerror or error}); check it") from error


def _open(
    source: str | Path | BinaryIO, block_seconds: float, raw_rate: int
) -> AbstractContextManager[Source]:
    if isinstance(source, str | Path) and source != "-":
        return open_file(Path(source), block_seconds=block_seconds, raw_rate=raw_rate)
    stream = sys.stdin.buffer if isinstance(source, str | Path) else source
    return nullcontext(open_live(stream, _name(source), block_seconds=block_seconds, raw_rate=raw_rate))


def _name(source: str | Path | BinaryIO) -> str:
    if isinstance(source, str | Path):
        return "standard input" if source == "-" else str(source)
    name = getattr(source, "name", None)
    return "standard input" if name == "<stdin>" else name if isinstance(name, str) else "the audio stream"


def _converted(source: Source, sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """Mix down, check and resample; blocks that the resampler holds back entirely are skipped."""
    resampler = StreamResampler(source.rate, sample_rate)
    heard = 0
    for block in source.blocks:
        mono = as_float_mono(block, f"{source.name} at {heard / source.rate:.2f} s")
        heard += len(mono)
        if len(ready := resampler.push(mono)):
            yield ready
    if heard == 0:
        raise AudioError(f"{source.name} holds no samples; record or copy it again")
    if len(rest := resampler.push(np.zeros(0, np.float32), last=True)):
        yield rest
