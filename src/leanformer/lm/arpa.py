r"""Language models that other tools estimated (SRILM, KenLM's lmplz), from ARPA files over word-pieces.

    \data\              \2-grams:
    ngram 1=400         -0.61  ▁the ▁cat  -0.12       log10 p, tokens, log10 backoff (0 if it is not there)
    ngram 2=51000       ...
                        \end\

Sentence marks and the unknown word are left out with all that contains them, for a stream has neither.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from leanformer.decoder.ngram import NGram
from leanformer.errors import DataError
from leanformer.lm.pack import packed
from leanformer.lm.text import lines_of

_MARKS = {"<s>", "</s>", "<unk>", "<UNK>"}
_LN_10 = math.log(10)
_NEVER_SEEN = -20.0  # natural logarithm: worse than any piece of a large text

_Level = dict[tuple[int, ...], tuple[float, float]]


def read_arpa(path: Path, pieces: Sequence[str]) -> NGram:
    """The model in an ARPA file, for a tokenizer with these `pieces`, the blank at 0.

    Raises:
        DataError: the file cannot be read, is not ARPA, or its words are not the pieces.
    """
    levels = _read(path, {piece: token for token, piece in enumerate(pieces) if token})
    first: _Level = {(token,): levels[0].get((token,), (_NEVER_SEEN, 0.0)) for token in range(len(pieces))}
    ordered: list[_Level] = [first, *(dict(sorted(level.items())) for level in levels[1:] if level)]
    for below, above in pairwise(ordered):
        lost = next((ngram for ngram in above if ngram[:-1] not in below), None)
        if lost is not None:
            spelled = " ".join(pieces[token] for token in lost)
            raise DataError(f"{path}: has {spelled!r} without what stands before its last word; is it whole?")
    counts = []
    for below, above in pairwise(ordered):
        places = {ngram: place for place, ngram in enumerate(below)}
        counts.append(np.bincount([places[ngram[:-1]] for ngram in above], minlength=len(below)))
    return packed(
        len(pieces),
        [np.array([ngram[-1] for ngram in level], np.uint16) for level in ordered],
        [np.array([log_prob for log_prob, _ in level.values()]) for level in ordered],
        counts,
        [np.array([backoff for _, backoff in level.values()]) for level in ordered[:-1]],
    )


def _read(path: Path, tokens: Mapping[str, int]) -> list[_Level]:
    levels: list[_Level] = []
    for number, order, line in _entries(path):
        while len(levels) < order:
            levels.append({})
        fields = line.split()
        words = fields[1 : order + 1]
        if _MARKS.intersection(words):
            continue
        unknown = next((word for word in words if word not in tokens), None)
        if unknown is not None:
            raise DataError(
                f"{path}, line {number}: {unknown!r} is none of the model's word-pieces; estimate it on text "
                "that its tokenizer has cut into pieces, or build one with `leanformer lm TEXT...`"
            )
        try:
            log_prob, backoff = float(fields[0]), float(fields[order + 1]) if len(fields) > order + 1 else 0.0
            levels[order - 1][tuple(tokens[word] for word in words)] = log_prob * _LN_10, backoff * _LN_10
        except (ValueError, IndexError):
            raise DataError(f"{path}, line {number}: {line!r} is no entry of an ARPA file") from None
    if not levels or not levels[0]:
        raise DataError(f"{path}: no 1-grams in it; expected a language model in ARPA format")
    return levels


def _entries(path: Path) -> Iterator[tuple[int, int, str]]:
    """Line number, order and text of each entry."""
    order = 0
    for number, line in enumerate(map(str.strip, lines_of(path)), start=1):
        if line == "\\end\\":
            return
        if heading := re.fullmatch(r"\\(\d+)-grams:", line):
            order = int(heading[1])
        elif order and line:
            yield number, order, line
    if order:
        raise DataError(f"{path}: ends before \\end\\: copy it again")
