"""Which search a recogniser runs: greedy, or a beam with whatever helps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from leanformer.decoder.biasing import Hotword
from leanformer.decoder.ctc import GreedySearch
from leanformer.decoder.ctc_beam import CtcBeamSearch
from leanformer.decoder.scorer import Scorer
from leanformer.decoder.search import Search
from leanformer.errors import ConfigError
from leanformer.runtime.hotwords import biasing, read_hotwords
from leanformer.runtime.language_model import Fusion, language_model
from leanformer.text.tokenizer import Tokenizer

_MOST = 1000


def make_search(tokenizer: Tokenizer, beam: int = 1, lm: str | Path | Fusion | None = None) -> Search[Any]:
    """A greedy search for a beam of 1; else a beam search, with a language model if one is named.

    Raises:
        ConfigError: a language model without a beam, or one that cannot be used; a beam that is no size.
    """
    if not 1 <= beam <= _MOST:
        raise ConfigError(f"beam of {beam}: expected 1, which is the greedy search, up to {_MOST}")
    if beam == 1:
        if lm is not None:
            raise ConfigError("a language model needs a beam search; add --beam 8 (in Python: beam=8)")
        return GreedySearch(tokenizer.blank_id)
    scorers: list[Scorer] = []
    if lm is not None:
        scorers.append(language_model(lm if isinstance(lm, Fusion) else Fusion(lm), tokenizer))
    return CtcBeamSearch(len(tokenizer), beam, scorers, tokenizer.blank_id)


def with_hotwords(
    search: Search[Any], hotwords: Sequence[Hotword] | Path | None, tokenizer: Tokenizer
) -> Search[Any]:
    """The search with hotwords beside what it has; a path is of a file as `read_hotwords` reads it.

    Raises:
        ConfigError: the search is greedy, or a phrase cannot be used.
    """
    if isinstance(hotwords, Path):
        hotwords = read_hotwords(hotwords, tokenizer)
    if not hotwords:
        return search
    if not isinstance(search, CtcBeamSearch):
        raise ConfigError("hotwords need a beam search; add --beam 8 (in Python: Recognizer.load(beam=8))")
    return replace(search, scorers=(*search.scorers, biasing(hotwords, tokenizer)))
