"""Hotwords as users give them: strings, or a text file with a phrase on each line.

    # names in this meeting
    fezziwig
    saint antoine<TAB>2.5

A weight stands after a tab. Empty lines and lines that begin with # are passed over. Phrases are normalised as
transcripts are, so capitals and punctuation do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from leanformer.decoder.biasing import DEFAULT_WEIGHT, Biasing, Hotword, check
from leanformer.errors import ConfigError
from leanformer.text.normalization import normalize
from leanformer.text.tokenizer import Tokenizer


def biasing(hotwords: Sequence[Hotword], tokenizer: Tokenizer) -> Biasing:
    """The scorer for some phrases; raises ConfigError naming one that cannot be used."""
    if isinstance(hotwords, str):
        raise ConfigError(f"hotwords {hotwords!r}: expected a list of phrases, not one string")
    return Biasing([_normalized(hotword) for hotword in hotwords], tokenizer)


def read_hotwords(path: str | Path, tokenizer: Tokenizer) -> list[Hotword]:
    """The phrases in a file, each checked.

    Raises:
        ConfigError: the file cannot be read or has no phrase, or a line, which is named, cannot be used.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the hotwords ({error}); expected a text file") from error
    found: list[Hotword] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            found.append(_hotword(line))
            check(found[-1], tokenizer)
        except ConfigError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
    if not found:
        raise ConfigError(f"{path}: no hotwords in it; expected a phrase on each line")
    return found


def _hotword(line: str) -> Hotword:
    phrase, tab, weight = line.partition("\t")
    try:
        return normalize(phrase), float(weight) if tab else DEFAULT_WEIGHT
    except ValueError:
        raise ConfigError(
            f"weight {weight.strip()!r} of {phrase!r} is not a number; write PHRASE, a tab, WEIGHT"
        ) from None


def _normalized(hotword: Hotword) -> Hotword:
    return normalize(hotword) if isinstance(hotword, str) else (normalize(hotword[0]), hotword[1])
