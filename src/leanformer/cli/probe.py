"""`leanformer probe`: what can be read out of each layer of an encoder, phone by phone."""

from __future__ import annotations

import json as json_format
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from leanformer.cli.outcome import OK
from leanformer.cli.outputs import replacing

_AtLeastOne = Parameter(validator=validators.Number(gte=1))
_Several = Parameter(negative=(), consume_multiple=True)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure on, and how much of it."""

    data: Annotated[tuple[Path, ...], _Several] = ()
    "The corpora that were aligned, or folders of these. Default: $LEANFORMER_DATA, else ../shared/data."

    exclude: Annotated[tuple[str, ...], _Several] = ()
    "Names of corpora folders to leave out."

    depths: Annotated[tuple[int, ...], _Several] = ()
    "The layers to probe. Default: all."

    train_frames: Annotated[int, _AtLeastOne] = 40_000
    "About how many encoder frames to fit each probe to."

    test_frames: Annotated[int, _AtLeastOne] = 15_000
    "About how many encoder frames to judge it by."

    full_context: Annotated[bool, Parameter(negative=())] = False
    "Let attention see whole utterances, not the context of the dev passes."

    json: Path | None = None
    "Write all figures into this file."


_DEFAULTS = Options()


def probe(
    checkpoint: Path,
    *,
    alignments: Annotated[tuple[Path, ...], _Several],
    options: Options = _DEFAULTS,
) -> int:
    """Classify frames as phones with a linear probe on the frozen features of each layer.

    The probe is fitted to some speakers and judged on others; intervals are 95 % bootstrap intervals over speakers.
    The first line is the same for the log-mel features themselves, without an encoder.

    Args:
        checkpoint: A checkpoint of `train` or `pretrain`, or the folder of a run, of which the best is taken.
        alignments: What `leanformer align` wrote.
        options: Everything that has a default.
    """
    # Here, not above, for a quick --help.
    from leanformer.analysis.probe import probe as probe_layers
    from leanformer.analysis.subject import load_subject
    from leanformer.data.alignment import AlignmentTable
    from leanformer.data.layouts.selection import default_data_folder
    from leanformer.pretrain.prepare import read_audio

    subject = load_subject(checkpoint)
    wanted = subject.require_depths(options.depths)
    phones = AlignmentTable.load(*alignments)
    cuts = read_audio(options.data or (default_data_folder(),), ("all",), options.exclude)
    print(f"{subject.path}: {subject.depth} layers", file=sys.stderr, flush=True)
    sizes = (options.train_frames, options.test_frames)
    found = probe_layers(
        subject, cuts, phones, wanted, sizes, options.full_context, lambda line: print(line, flush=True)
    )
    print(
        f"{found.train_frames} frames to fit, {found.test_frames} of {found.test_speakers} other speakers to judge; "
        f"the most frequent phone alone gives {found.majority:.1%}"
    )
    if options.json is not None:
        values = {"checkpoint": str(subject.path), "step": subject.step, **found.to_dict()}
        with replacing(options.json) as file:
            json_format.dump(values, file, indent=2)
    return OK
