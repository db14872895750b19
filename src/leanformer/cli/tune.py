"""`leanformer tune`: what a bundle's search and words need, fitted on transcribed speech."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators

from leanformer.cli.outcome import UsageError
from leanformer.runtime.bundle import DEFAULT

if TYPE_CHECKING:
    from leanformer.decoder.scorer import Scorer
    from leanformer.evaluate.corpus import Clip
    from leanformer.evaluate.tune import Trial
    from leanformer.text.tokenizer import Tokenizer

_AtLeastOne = Parameter(validator=validators.Number(gte=1))
_Several = Parameter(negative=(), consume_multiple=True)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What to tune, and on what."""

    lm: str = DEFAULT
    """A language model that `leanformer lm` wrote, or `default`; or one of words, an ARPA file or a KenLM binary, for
    which weight and bonus are only shown."""

    words: Annotated[bool, Parameter(negative=())] = False
    """Fit the confidence of words instead, for the greedy search, the beam, and the beam with --lm, and write it into
    the bundle. With --alignments, their times too."""

    alignments: Path | None = None
    "For --words: what `leanformer align` wrote for this split."

    data: Annotated[tuple[Path, ...], _Several] = ()
    "Corpora, or folders of corpora. Default: $LEANFORMER_DATA, else ../shared/data."

    split: str = "dev"
    "The split to tune on, or `all`."

    speakers: Literal["all", "odd", "even"] | None = None
    """All speakers, or every second of each corpus, so that the others are left to report on. Default: all; with
    --words, even."""

    exclude: Annotated[tuple[str, ...], _Several] = ()
    "Names of corpora folders to leave out."

    limit: Annotated[int | None, _AtLeastOne] = None
    "At most so many clips of each corpus, evenly spread over it."

    beam: Annotated[int, Parameter(validator=validators.Number(gte=2))] = 8
    "How many hypotheses the search keeps."

    chunk_ms: Annotated[int | None, _AtLeastOne] = None
    "Milliseconds of speech that the model sees at a time. Default: what the model was chosen for."


_DEFAULTS = Options()


def tune(bundle: str, *, options: Options = _DEFAULTS) -> None:
    """Find the weight and bonus of a language model with the fewest word errors, and write them into its file.

    With a language model of words they are shown, and left for you to give.

    With --words, fit the times and confidence of words, and write them into the bundle's manifest.

    The model hears the speech once; then searches are run on what it heard. Tune on speech that is neither trained
    on nor used to report results.

    Args:
        bundle: A folder that `leanformer export` wrote, or `default`.
    """
    if options.alignments is not None and not options.words:
        raise UsageError("--alignments is used by --words only; add --words, or leave it out")
    # Here, not above, for a quick --help.
    from leanformer.evaluate.wer import require_jiwer

    require_jiwer()
    if options.words:
        from leanformer.cli.tune_words import tune_words

        tune_words(bundle, options)
    else:
        _tune_language_model(bundle, options)


def clips_of(options: Options, speakers: Literal["all", "odd", "even"]) -> Sequence[Clip]:
    """What to tune on; `speakers` is the default."""
    from leanformer.data.layouts.selection import default_data_folder
    from leanformer.evaluate.corpus import read_clips
    from leanformer.evaluate.speakers import of_speakers

    folders = options.data or (default_data_folder(),)
    found = read_clips(folders, options.split, exclude=options.exclude, limit=options.limit)
    return of_speakers(found.clips, options.speakers or speakers)


def _tune_language_model(bundle: str, options: Options) -> None:
    from leanformer.data.progress import progress_bar
    from leanformer.evaluate.posteriors import posteriors
    from leanformer.evaluate.tune import tune as trials
    from leanformer.runtime.recognizer import Recognizer

    recognizer = Recognizer.load(bundle, chunk_ms=options.chunk_ms, beam=1)
    scorer, keep = _opened(options.lm, recognizer.tokenizer)
    clips = clips_of(options, "all")
    heard = []
    with progress_bar("listening") as progress:
        for clip in clips:
            heard.append(posteriors(recognizer, clip.utterance))
            progress(len(heard), len(clips))
    best = None
    texts = [clip.utterance.text for clip in clips]
    for trial in trials(scorer, options.beam, heard, texts, recognizer.tokenizer):
        best = trial if best is None or trial.wer < best.wer else best
        print(
            f"weight {trial.weight:.3f}  bonus {trial.bonus:.3f}  WER {trial.wer:7.2%}   best {best.wer:7.2%}",
            file=sys.stderr,
        )
    assert best is not None
    on = f"{len(clips)} clips of split {options.split}"
    kept = keep(best, f"{recognizer.name}, beam {options.beam}, {on}, WER {best.wer:.4f}")
    print(
        f"{options.lm}: weight {best.weight:g}, bonus {best.bonus:g}; WER {best.wer:.2%} at beam {options.beam}{kept}"
    )


def _opened(
    lm: str, tokenizer: Tokenizer
) -> tuple[Callable[[float, float], Scorer], Callable[[Trial, str], str]]:
    """What makes the language model's scorer of a weight and a bonus, and what keeps the best of them.

    The latter takes it with what it was found with, in words, and gives what the user has to know.
    """
    from leanformer.decoder.language_model import LanguageModel
    from leanformer.decoder.language_model_file import to_bytes
    from leanformer.runtime.kenlm import is_of_words, word_fusion
    from leanformer.runtime.language_model import open_language_model, path_of, write_file

    path = path_of(lm)
    if is_of_words(path):
        # Not ours to write into.
        words = word_fusion(path, tokenizer)
        how = "; use it with --lm-weight {0.weight:g} --lm-bonus {0.bonus:g}"
        return words.weighted, lambda best, _: how.format(best)
    ngram, header = open_language_model(path, tokenizer)

    def keep(best: Trial, tuned: str) -> str:
        new = replace(header, weight=best.weight, bonus=best.bonus, tuned=tuned)
        write_file(path, to_bytes(ngram, new))
        return ""

    return partial(LanguageModel, ngram), keep
