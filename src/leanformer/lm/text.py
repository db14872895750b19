"""The user's text as tokens."""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leanformer.errors import DataError
from leanformer.text.normalization import normalize
from leanformer.text.tokenizer import Tokenizer

_LARGEST_VOCABULARY = 2**16
_TOKENS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class TokenText:
    """A text of T tokens, in reading order, one line after the other."""

    tokens: NDArray[np.uint16]
    "(T,)"
    words: int
    lines_left_out: int
    "those with digits or letters that the tokenizer cannot spell, since how they are read out is not known"


def read_text(files: Sequence[Path], tokenizer: Tokenizer) -> TokenText:
    """Read text files, plain or .xz, normalised as transcripts are. Two bytes a token are held, and one line.

    Raises:
        DataError: a file cannot be read as text, nothing is in any of them, or the tokenizer is too large.
    """
    if len(tokenizer) > _LARGEST_VOCABULARY:
        raise DataError(
            f"a tokenizer of {len(tokenizer)} pieces: at most {_LARGEST_VOCABULARY} are supported"
        )
    blocks: list[NDArray[np.uint16]] = []
    held: list[int] = []
    words = left_out = 0
    for line in (line for file in files for line in lines_of(file)):
        text = normalize(line)
        if tokenizer.unspellable(text):
            left_out += 1
            continue
        words += len(text.split())
        held += tokenizer.encode(text)
        if len(held) >= _TOKENS_AT_ONCE:
            blocks.append(np.array(held, np.uint16))
            held = []
    tokens = np.concatenate([*blocks, np.array(held, np.uint16)])
    if not len(tokens):
        raise DataError(f"{', '.join(map(str, files))}: no text that this model's tokenizer can spell")
    return TokenText(tokens, words, left_out)


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a text file, plain or .xz; raises DataError if it cannot be read as UTF-8."""
    try:
        with lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb") as file:
            for line in file:
                yield line.decode("utf-8")
    except (OSError, UnicodeDecodeError, lzma.LZMAError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); expected UTF-8, plain or .xz") from error
