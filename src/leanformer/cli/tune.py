"""`leanformer tune`: how much a language model should count with a bundle, found on transcribed speech."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from leanformer.runtime.bundle import DEFAULT

_AtLeastOne = Parameter(validator=validators.Number(gte=1))
_Several = Parameter(negative=(), consume_multiple=True)


def tune(
    bundle: str,
    *,
    lm: str = DEFAULT,
    data: Annotated[tuple[Path, ...], _Several] = (),
    split: str = "dev",
    exclude: Annotated[tuple[str, ...], _Several] = (),
    limit: Annotated[int | None, _AtLeastOne] = None,
    beam: Annotated[int, Parameter(validator=validators.Number(gte=2))] = 8,
    chunk_ms: Annotated[int | None, _AtLeastOne] = None,
) -> None:
    """Find the weight and bonus of a language model with the fewest word errors, and write them into its file.

    The model hears the speech once; then the search is run on it some 20 times. Tune on speech that is neither
    trained on nor used to report results.

    Args:
        bundle: A folder that `leanformer export` wrote, or `default`.
        lm: A language model that `leanformer lm` wrote, or `default`.
        data: Corpora, or folders of corpora. Default: $LEANFORMER_DATA, else ../shared/data.
        split: The split to tune on, or `all`.
        exclude: Names of corpora folders to leave out.
        limit: At most so many clips of each corpus, evenly spread over it.
        beam: How many hypotheses the search keeps.
        chunk_ms: Milliseconds of speech that the model sees at a time. Default: what the model was chosen for.
    """
    # Here, not above, for a quick --help.
    from leanformer.data.layouts.selection import default_data_folder
    from leanformer.data.progress import progress_bar
    from leanformer.decoder.language_model_file import Header, to_bytes
    from leanformer.evaluate.corpus import read_clips
    from leanformer.evaluate.posteriors import posteriors
    from leanformer.evaluate.tune import tune as trials
    from leanformer.evaluate.wer import require_jiwer
    from leanformer.runtime.language_model import open_language_model, path_of, write_file
    from leanformer.runtime.recognizer import Recognizer

    require_jiwer()
    recognizer = Recognizer.load(bundle, chunk_ms=chunk_ms, beam=1)
    path = path_of(lm if lm == DEFAULT else Path(lm))
    ngram, header = open_language_model(path, recognizer.tokenizer)
    clips = read_clips(data or (default_data_folder(),), split, exclude=exclude, limit=limit).clips
    heard = []
    with progress_bar("listening") as progress:
        for clip in clips:
            heard.append(posteriors(recognizer, clip.utterance))
            progress(len(heard), len(clips))
    best = None
    for trial in trials(ngram, beam, heard, [clip.utterance.text for clip in clips], recognizer.tokenizer):
        best = trial if best is None or trial.wer < best.wer else best
        print(
            f"weight {trial.weight:.3f}  bonus {trial.bonus:.3f}  WER {trial.wer:7.2%}   best {best.wer:7.2%}",
            file=sys.stderr,
        )
    assert best is not None
    tuned = f"{recognizer.name}, beam {beam}, {len(clips)} clips of split {split}, WER {best.wer:.4f}"
    write_file(path, to_bytes(ngram, Header(header.pieces, best.weight, best.bonus, tuned)))
    print(f"{path}: weight {best.weight:g}, bonus {best.bonus:g}; WER {best.wer:.2%} at beam {beam}")
