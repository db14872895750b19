"""Language models of words in ARPA files and KenLM binaries, read by KenLM itself (extra `lm`: flashlight-text).

flashlight-text brings KenLM in its wheels, and gives it words by the numbers of a dictionary of ours. It does not
tell which words there are, so they are read from the file: an ARPA file lists them as its 1-grams, and a binary
has them at its end, the unknown word first, each with a zero byte behind it (KenLM, lm/vocab.cc).
"""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from leanformer.decoder.word_fusion import WordFusion
from leanformer.errors import ConfigError, MissingExtraError
from leanformer.text.normalization import normalize
from leanformer.text.tokenizer import WORD_START, Tokenizer

_BINARY = b"mmap lm http://kheafield.com/code"
_ARPA = b"\\data\\"
_UNKNOWN = "<unk>"
_TOO_NEW = (3, 13)
_LN_10 = math.log(10)
# A guess, near which `leanformer tune` finds something for most models.
WEIGHT, BONUS = 0.5, 2.5


def is_of_words(path: Path) -> bool:
    """Whether a file is what this module reads; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(1024).lstrip()
    except OSError:
        return False
    return start.startswith((_BINARY, _ARPA))


def word_fusion(
    path: Path, tokenizer: Tokenizer, weight: float | None = None, bonus: float | None = None
) -> WordFusion:
    """The scorer of a file for which `is_of_words`; None stands for a guess.

    Raises:
        MissingExtraError: flashlight-text is missing.
        ConfigError: KenLM cannot read the file, or the tokenizer can write none of its words.
    """
    pieces = [tokenizer.piece(token) for token in range(len(tokenizer))]
    words = _words(path)
    if any(word.startswith(WORD_START) for word in words):
        raise ConfigError(
            f"{path}: a language model of word-pieces; take it in with `leanformer lm {path} -o NEW.lm`"
        )
    model = _KenLM(path, words)
    spelled = [_spelled(word, tokenizer) for word in words]
    if not any(spelled):
        some = ", ".join(map(repr, words[:3]))
        raise ConfigError(f"{path}: this model can write none of its {len(words)} words ({some}, ...)")
    return WordFusion(
        model, spelled, pieces, WEIGHT if weight is None else weight, BONUS if bonus is None else bonus
    )


class _KenLM:
    """A model as `WordFusion` asks for it."""

    def __init__(self, path: Path, words: Sequence[str]) -> None:
        try:
            from flashlight.lib.text.decoder.kenlm import KenLM
            from flashlight.lib.text.dictionary import Dictionary
        except ModuleNotFoundError as error:
            if sys.version_info >= _TOO_NEW:
                raise ConfigError(
                    f"{path}: flashlight-text, which reads it, has no wheels for Python 3.13 and later; use an "
                    "earlier one, or build a language model from text with `leanformer lm`"
                ) from error
            raise MissingExtraError("flashlight-text", "lm") from error
        dictionary = Dictionary()
        for word in (_UNKNOWN, *words):
            dictionary.add_entry(word)
        try:
            self._model: Any = KenLM(str(path), dictionary)
        except RuntimeError as error:
            raise ConfigError(f"{path}: KenLM cannot read it ({_last_line(error)})") from error

    def log_prob(self, before: Sequence[int], word: int) -> float:
        """The natural logarithm of p(word | before)."""
        # From the start each time: a state keeps all that ever followed it.
        state = self._model.start(True)
        for one in before:
            state, _ = self._model.score(state, one)
        return float(self._model.score(state, word)[1]) * _LN_10


def _words(path: Path) -> list[str]:
    """All but the unknown word, in the file's order, each once; sentence marks are among them."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            binary = content[: len(_BINARY)] == _BINARY
            found = dict.fromkeys(_binary_words(content) if binary else _arpa_words(content))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the language model ({error})") from error
    found = {word: None for word in found if word.lower() != _UNKNOWN}
    if not found:
        how = "build it without build_binary's option -v" if binary else "is it whole?"
        raise ConfigError(f"{path}: has no words in it; {how}")
    return list(found)


def _binary_words(content: mmap.mmap) -> Iterator[str]:
    begin = content.rfind(_UNKNOWN.encode() + b"\0")
    if begin >= 0:
        yield from content[begin:].rstrip(b"\0").decode().split("\0")


def _arpa_words(content: mmap.mmap) -> Iterator[str]:
    begin = content.find(b"\\1-grams:")
    if begin < 0:
        return
    content.seek(begin)
    content.readline()
    for line in iter(content.readline, b""):
        if line.startswith(b"\\"):
            return
        fields = line.split()
        if len(fields) > 1:
            yield fields[1].decode()


def _spelled(word: str, tokenizer: Tokenizer) -> str:
    """The word as the recogniser writes it; "" for one that it cannot, such as a mark of sentences."""
    text = normalize(word)
    return "" if word.startswith("<") or " " in text or tokenizer.unspellable(text) else text


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
