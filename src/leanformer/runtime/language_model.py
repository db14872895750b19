"""Language models as the runtime opens and stores them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from leanformer.decoder.language_model import LanguageModel
from leanformer.decoder.language_model_file import Header, pieces_hash, read
from leanformer.decoder.ngram import NGram
from leanformer.decoder.word_fusion import WordFusion
from leanformer.errors import ConfigError, LeanformerError
from leanformer.runtime.bundle import DEFAULT
from leanformer.runtime.kenlm import is_of_words, word_fusion
from leanformer.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Fusion:
    """A language model and how much it counts; None stands for what it was tuned to."""

    lm: str | Path
    """its file, or "default" for the one that ships with Leanformer; a file of `leanformer lm`, or one of words, which
    KenLM reads"""
    weight: float | None = None
    bonus: float | None = None
    "what each token gains, or each word with a language model of words, so that words are not left out"
    internal_weight: float = 0.0
    """how much of what a transducer has itself learnt of language is taken off first (Variani et al. 2020); CTC has
    nothing of the kind"""


_DEFAULT_FILE = Path(__file__).parent.parent / "models" / "default.lm"


def path_of(model: str | Path) -> Path:
    """The file of a language model; "default" is the one that ships with Leanformer.

    Raises:
        ConfigError: "default", and there is none.
    """
    if model == DEFAULT and not _DEFAULT_FILE.is_file():
        raise ConfigError(
            "this installation of leanformer has no default language model: name a file, "
            "or make one with `leanformer lm`"
        )
    return _DEFAULT_FILE if model == DEFAULT else Path(model)


def open_language_model(model: str | Path, tokenizer: Tokenizer) -> tuple[NGram, Header]:
    """Read a language model that is to be used with a tokenizer.

    Raises:
        ConfigError: the file cannot be read, is none, or is of another tokenizer.
    """
    path = path_of(model)
    ngram, header = read(path)
    if header.pieces != pieces_hash([tokenizer.piece(token) for token in range(len(tokenizer))]):
        raise ConfigError(
            f"{path}: made for another model's word-pieces; build it again with "
            "`leanformer lm TEXT... --model BUNDLE`"
        )
    return ngram, header


def language_model(fusion: Fusion, tokenizer: Tokenizer) -> LanguageModel | WordFusion:
    """The scorer: of word-pieces from a file of `leanformer lm`, or of words from an ARPA file or KenLM binary.

    Raises what `open_language_model` and `word_fusion` do.
    """
    path = path_of(fusion.lm)
    if is_of_words(path):
        return word_fusion(path, tokenizer, fusion.weight, fusion.bonus)
    ngram, header = open_language_model(path, tokenizer)
    weight = header.weight if fusion.weight is None else fusion.weight
    return LanguageModel(ngram, weight, header.bonus if fusion.bonus is None else fusion.bonus)


def write_file(path: Path, content: bytes) -> None:
    """Write a language model's file as a whole, or not at all; raises LeanformerError if it cannot be written."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise LeanformerError(f"{path}: cannot be written ({error.strerror}); name another file") from error
