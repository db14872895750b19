"""`leanformer consistency`: how alike the layers of an encoder are."""

from __future__ import annotations

import json as json_format
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from leanformer.cli.outcome import OK, UsageError
from leanformer.cli.outputs import replacing

_AtLeastOne = Parameter(validator=validators.Number(gte=1))
_Positive = Parameter(validator=validators.Number(gt=0))
_Several = Parameter(negative=(), consume_multiple=True)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure on, and where to write."""

    data: Annotated[tuple[Path, ...], _Several] = ()
    "Folders of audio, corpora, or folders of these. Default: $LEANFORMER_DATA, else ../shared/data."

    split: str = "dev"
    "The split to take speech from, or `all`."

    exclude: Annotated[tuple[str, ...], _Several] = ()
    "Names of corpora folders to leave out."

    minutes: Annotated[float, _Positive] = 10.0
    "How much speech, at most."

    frames: Annotated[int, _AtLeastOne] = 10_000
    "How many encoder frames of it to compare, at most, evenly spread."

    full_context: Annotated[bool, Parameter(negative=())] = False
    "Let attention see whole utterances, not the context of the dev passes."

    json: Path | None = None
    "Write all figures into this file."

    plot: Path | None = None
    "Draw heat maps into this file (.png, .svg or .pdf)."


_DEFAULTS = Options()


def consistency(checkpoints: Annotated[tuple[Path, ...], _Several], *, options: Options = _DEFAULTS) -> int:
    """Measure how alike the layers of trained or pre-trained encoders are on real speech.

    Prints, for each, the means over all pairs of layers of linear CKA and of the Frechet distance;
    docs/pretraining.md has the formulas. --json has all pairs, --plot draws them.

    Args:
        checkpoints: Checkpoints of `train` or `pretrain`, or folders of runs, of which the best is taken.
        options: Everything that has a default.
    """
    if not checkpoints:
        raise UsageError("name at least one checkpoint, or the folder of a run")
    if options.plot is not None:
        from leanformer.profile.plot import figure_of_matplotlib

        figure_of_matplotlib()  # better now than after a minute's work
    from leanformer.analysis.consistency import in_words, measure
    from leanformer.analysis.speech import batches
    from leanformer.analysis.subject import load_subject
    from leanformer.data.layouts.selection import default_data_folder
    from leanformer.data.subset import shuffled, until_seconds
    from leanformer.pretrain.prepare import read_audio

    subjects = {str(path): load_subject(path) for path in checkpoints}
    cuts = read_audio(options.data or (default_data_folder(),), (options.split,), options.exclude)
    chosen = until_seconds(shuffled(cuts, seed=0), 60.0 * options.minutes)
    found = {}
    for name, subject in subjects.items():
        print(f"{subject.path}: {subject.depth} layers", file=sys.stderr, flush=True)
        found[name] = measure(subject, batches(chosen), options.frames, options.full_context)
        print(f"{name}: {in_words(found[name])}", flush=True)
    if options.json is not None:
        values = {name: {"step": subjects[name].step, **one.to_dict()} for name, one in found.items()}
        with replacing(options.json) as file:
            json_format.dump(values, file, indent=2)
    if options.plot is not None:
        from leanformer.analysis.plot import plot as draw

        draw(found, options.plot)
    return OK
