"""`leanformer align`: which phone is spoken when, as targets for training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

_AtLeastOne = validators.Number(gte=1)


def align(
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    *,
    data: Annotated[tuple[Path, ...], Parameter(negative=(), consume_multiple=True)] = (),
    split: str = "train",
    exclude: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=True)] = (),
    jobs: Annotated[int, Parameter(name=["--jobs", "-j"], validator=_AtLeastOne)] = 2,
) -> None:
    """Align the transcripts of one or more corpora with their audio, phone by phone.

    Uses PocketSphinx with its English model and dictionary; flite, if it is installed, spells words that the
    dictionary lacks. Utterances that OUTPUT holds already are not aligned again, so a run that was stopped
    goes on where it was.

    Args:
        output: The JSON-lines file to write or continue.
        data: Corpora, or folders of corpora. Default: $LEANFORMER_DATA, else ../shared/data.
        split: The split to align, or `all`.
        exclude: Names of corpora folders to leave out.
        jobs: Processes to work with.
    """
    # Here, not above, for a quick --help.
    from lhotse import CutSet

    from leanformer.data.alignment import align as align_cuts
    from leanformer.data.corpora import read_corpus
    from leanformer.data.layouts.selection import default_data_folder
    from leanformer.data.progress import progress_bar
    from leanformer.text.normalization import normalize, outside_alphabet

    cuts = []
    for folder in data or (default_data_folder(),):
        found, report = read_corpus(
            folder, split, exclude=exclude, normalize=normalize, unspellable=outside_alphabet
        )
        print(f"{folder}: {report}", file=sys.stderr)
        cuts += list(found)
    with progress_bar("aligning") as bar:
        print(f"{output}: {align_cuts(CutSet.from_cuts(cuts), output, jobs=jobs, progress=bar)}")
