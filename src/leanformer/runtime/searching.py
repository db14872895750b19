"""Which search a recogniser runs: greedy, or a beam with whatever helps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from leanformer.decoder.biasing import Hotword
from leanformer.decoder.ctc import GreedySearch
from leanformer.decoder.ctc_beam import CtcBeamSearch
from leanformer.decoder.language_model import LanguageModel
from leanformer.decoder.scorer import Scorer
from leanformer.decoder.search import Search
from leanformer.decoder.transducer import Transducer, TransducerGreedySearch
from leanformer.decoder.transducer_beam import TransducerBeamSearch
from leanformer.decoder.word_fusion import WordFusion
from leanformer.errors import BundleError, ConfigError
from leanformer.runtime.bundle import DEFAULT, Bundle
from leanformer.runtime.hotwords import biasing, read_hotwords
from leanformer.runtime.language_model import Fusion, language_model
from leanformer.runtime.manifest import TRANSDUCER
from leanformer.runtime.transducer import load_transducer
from leanformer.text.tokenizer import Tokenizer

USUAL_BEAM = 8
NO_LM = "none"
_MOST = 1000


def usual_search(
    model: str | Path,
    beam: int | None = None,
    lm: str | Path | Fusion | None = None,
    decoder: str | None = None,
    with_hotwords: bool = False,
) -> tuple[int, str | Path | Fusion | None]:
    """The beam and the language model where nothing else is asked for.

    With the model that ships goes the language model that ships, which was tuned for it, unless the search is to be
    greedy (a `beam` of 1) or `lm` is "none". A beam is used where there is something to use it for, and is USUAL_BEAM;
    otherwise the search is greedy.
    """
    if lm == NO_LM:
        lm = None
    elif lm is None and model == DEFAULT and beam != 1 and decoder != TRANSDUCER:
        lm = DEFAULT
    if beam is None:
        beam = USUAL_BEAM if lm is not None or with_hotwords else 1
    return beam, lm


def make_search(
    tokenizer: Tokenizer,
    beam: int = 1,
    lm: str | Path | Fusion | None = None,
    transducer: Transducer | None = None,
) -> Search[Any]:
    """A greedy search for a beam of 1; else a beam search, with a language model if one is named.

    It goes through CTC's log-probabilities, or through a transducer if one is given.

    Raises:
        ConfigError: a language model without a beam, or one that cannot be used; a beam that is no size.
    """
    if not 1 <= beam <= _MOST:
        raise ConfigError(f"beam of {beam}: expected 1, which is the greedy search, up to {_MOST}")
    if beam == 1:
        if lm is not None:
            raise ConfigError("a language model needs a beam search; add --beam 8 (in Python: beam=8)")
        return GreedySearch(tokenizer.blank_id) if transducer is None else TransducerGreedySearch(transducer)
    scorers: list[Scorer] = []
    fusion = None if lm is None else lm if isinstance(lm, Fusion) else Fusion(lm)
    if fusion is not None:
        scorers.append(language_model(fusion, tokenizer))
    size = len(tokenizer)
    if transducer is not None:
        model = replace(transducer, internal_lm_weight=fusion.internal_weight if fusion else 0.0)
        return TransducerBeamSearch(model, beam, scorers=scorers, vocabulary_size=size)
    if fusion is not None and fusion.internal_weight:
        raise ConfigError(
            f"internal language model weight {fusion.internal_weight:g}: CTC has none to take off; leave it out, or "
            "choose the transducer decoder of a bundle that has one"
        )
    return CtcBeamSearch(size, beam, scorers, tokenizer.blank_id)


def search_kind(search: Search[Any]) -> str:
    """What confidence is calibrated by: "greedy", "transducer", "beam" and "transducer beam", the last two with "+lm"
    behind where a language model helps, or "other".
    """
    if isinstance(search, CtcBeamSearch | TransducerBeamSearch):
        helped = any(isinstance(scorer, LanguageModel | WordFusion) for scorer in search.scorers)
        kind = "beam" if isinstance(search, CtcBeamSearch) else "transducer beam"
        return f"{kind}+lm" if helped else kind
    names = ((GreedySearch, "greedy"), (TransducerGreedySearch, "transducer"))
    return next((name for kind, name in names if isinstance(search, kind)), "other")


def find_transducer(bundle: Bundle, decoder: str | None = None, threads: int = 1) -> Transducer | None:
    """The bundle's transducer if it is the decoder that is wanted, "ctc" or "transducer", or else its first.

    Raises:
        BundleError: the bundle has no such decoder.
    """
    known = bundle.manifest.decoders
    if decoder is not None and decoder not in known:
        raise BundleError(
            f"{bundle.folder}: no decoder {decoder!r}; this bundle has {', '.join(known)}. Choose one of these, or "
            "train a model that has it"
        )
    return load_transducer(bundle, threads) if (decoder or known[0]) == TRANSDUCER else None


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
    if not isinstance(search, CtcBeamSearch | TransducerBeamSearch):
        raise ConfigError("hotwords need a beam search; add --beam 8 (in Python: Recognizer.load(beam=8))")
    return replace(search, scorers=(*search.scorers, biasing(hotwords, tokenizer)))
