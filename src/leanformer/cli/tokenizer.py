"""`leanformer tokenizer`: word-pieces from the transcripts of a corpus."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from leanformer.text.tokenizer import TokenizerKind

_Size = validators.Number(gte=2)


def tokenizer(
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    *,
    data: Annotated[tuple[Path, ...], Parameter(negative=(), consume_multiple=True)] = (),
    split: str = "train",
    exclude: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=True)] = (),
    size: Annotated[int, Parameter(validator=_Size)] = 128,
    kind: TokenizerKind = "unigram",
) -> None:
    """Train a tokenizer on the transcripts of one or more corpora.

    Transcripts with digits or letters other than a-z are left out, and counted.

    Args:
        output: The file to write.
        data: Corpora, or folders of corpora. Default: $LEANFORMER_DATA, else ../shared/data.
        split: The split whose transcripts are used, or `all`.
        exclude: Names of corpora folders to leave out.
        size: Number of pieces, with the blank. With `char` there may be fewer.
        kind: How words come apart: unigram, bpe, or char.
    """
    # Here, not above, for a quick --help.
    from leanformer.data.corpora import read_corpus
    from leanformer.data.layouts.selection import default_data_folder
    from leanformer.errors import TokenizerError
    from leanformer.text.normalization import normalize, outside_alphabet
    from leanformer.text.tokenizer import train_tokenizer

    texts: list[str] = []
    for folder in data or (default_data_folder(),):
        cuts, report = read_corpus(
            folder, split, exclude=exclude, normalize=normalize, unspellable=outside_alphabet
        )
        print(f"{folder}: {report}", file=sys.stderr)
        texts += [cut.supervisions[0].text for cut in cuts]
    made = train_tokenizer(texts, size, kind)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(made.to_bytes())
    except OSError as error:
        raise TokenizerError(
            f"{output}: cannot write ({error.strerror}); name another file with --output"
        ) from error
    print(f"{output}: {len(made)} pieces ({kind}) from {len(texts)} transcripts")
