"""`leanformer lm`: a language model from text, for one model's word-pieces."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from leanformer.runtime.bundle import DEFAULT

_Text = Parameter(name="TEXT", negative=(), required=True)
_Megabytes = validators.Number(gt=0)


def lm(
    *text: Annotated[Path, _Text],
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    order: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=12))] = 6,
    max_mb: Annotated[float, Parameter(validator=_Megabytes)] = 8.0,
    model: str = DEFAULT,
) -> None:
    """Build a language model from text, or take in one that another tool estimated.

    Text is read line by line and normalised as transcripts are; lines with digits or letters that the model
    cannot write are left out, and counted. It needs about 200 bytes of memory for each word. `leanformer tune`
    then finds how much the language model should count.

    Args:
        text: Text files, plain or .xz; or one .arpa file over the model's word-pieces.
        output: The file to write.
        order: How many word-pieces an entry has at most. A word has two on average.
        max_mb: Megabytes that the file may have; what matters least is left out.
        model: The bundle whose word-pieces it is for: a folder that `leanformer export` wrote, or `default`.
    """
    # Here, not above, for a quick --help.
    from leanformer.decoder.language_model_file import Header, pieces_hash, to_bytes
    from leanformer.lm.arpa import read_arpa
    from leanformer.lm.build import build
    from leanformer.lm.text import read_text
    from leanformer.runtime.bundle import Bundle
    from leanformer.runtime.language_model import write_file
    from leanformer.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(Bundle.open(model).tokenizer_path)
    pieces = [tokenizer.piece(token) for token in range(len(tokenizer))]
    header = Header(pieces_hash(pieces))
    if [path.suffix for path in text] == [".arpa"]:
        ngram = read_arpa(text[0], pieces)
        content = to_bytes(ngram, header)
    else:
        read = read_text(text, tokenizer)
        print(
            f"{read.words} words, {len(read.tokens)} word-pieces; left out {read.lines_left_out} lines that the "
            "model cannot write",
            file=sys.stderr,
        )
        ngram, content = build(read.tokens, len(tokenizer), order, round(max_mb * 1e6), header)
    write_file(output, content)
    counts = ", ".join(map(str, ngram.levels))
    print(
        f"{output}: {len(content) / 1e6:.2f} MB, {sum(ngram.levels)} n-grams (of orders 1, 2, ...: {counts})"
    )
