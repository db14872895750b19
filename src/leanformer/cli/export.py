"""`leanformer export`: a checkpoint becomes a bundle that runs without torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from leanformer.cli.outcome import OK, UsageError
from leanformer.errors import LeanformerError

if TYPE_CHECKING:
    from leanformer.export.export import Exported

_AtLeastOne = Parameter(validator=validators.Number(gte=1))
_Several = Parameter(negative=(), consume_multiple=True)
_Flag = Parameter(negative=())
# Each costs about its own length in seconds at a few per cent, three times.
_MOST_CLIPS = 20


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What to export, and how."""

    output: Annotated[Path, Parameter(name=["--output", "-o"])]
    "The folder to write: the bundle."

    name: str = ""
    "The model's name. Default: the recipe's."

    chunk_ms: Annotated[int, _AtLeastOne] = 640
    "Milliseconds of speech that the model sees at a time by default; a user may choose another."

    max_chunk_ms: Annotated[int, _AtLeastOne] = 10_240
    "The longest chunk that the bundle takes. A chunk as long as a recording hears it in full context."

    left_context: Annotated[int | None, _AtLeastOne] = None
    "Encoder frames before a chunk that it sees too. Default: what the model was measured with in training."

    depths: Annotated[tuple[int, ...], _Several] = ()
    """Layers to run, of the depths at which the model has an exit: the most of them by default, fewer by `--depth` of
    `transcribe`. Each depth is a graph of its own. Default: all layers only."""

    no_fp32: Annotated[bool, _Flag] = False
    "Leave the float32 graph out, once the int8 graph was compared with it."

    int8_agreement: Annotated[float | None, Parameter(validator=validators.Number(gte=0, lte=1))] = None
    """Share of frames in which the int8 graph must say what the float32 graph says: less than the usual 0.95, where
    what int8 loses is measured anyway."""

    licence: str = ""
    "The licence of the weights, such as CC-BY-4.0."

    licence_notes: Path | None = None
    "A text or Markdown file that becomes LICENCE.md, such as the attributions that the data ask for."

    notes: Path | None = None
    "A Markdown file that goes into the model card: sections on what it was trained on and cannot do."

    metrics: Path | None = None
    "A file of `leanformer evaluate --json`, for the manifest and the model card."

    data: Annotated[tuple[str, ...], _Several] = ()
    "Recordings or folders to verify the export on. Default: the sample that ships with Leanformer."

    force: Annotated[bool, _Flag] = False
    "Replace a bundle that is there."


def export(checkpoint: Path, *, options: Options) -> int:
    """Turn a checkpoint into a bundle that runs without torch.

    Writes float32 and int8 graphs, and ends by comparing them with the model on real speech. If they differ by
    more than they should, nothing is written, and the exit code is 1.

    Args:
        checkpoint: A file of `leanformer train`, or its folder, for the checkpoint that did best on dev.
    """
    metrics = _read_metrics(options.metrics)
    licence_notes, notes = (
        "" if path is None else _read(path) for path in (options.licence_notes, options.notes)
    )
    speech = _recordings(options.data)
    # Here, not above, for a quick --help. The exporter's own needs first, as torch takes seconds to load.
    from leanformer.export.bundle import check_target

    check_target(options.output, options.force)
    from leanformer.export.export import NO_LICENCE, Settings
    from leanformer.export.export import export as run
    from leanformer.export.speech import SAMPLE
    from leanformer.train.checkpoint import load_trained

    settings = Settings(
        name=options.name,
        chunk_ms=options.chunk_ms,
        max_chunk_ms=options.max_chunk_ms,
        left_context=options.left_context,
        keep_fp32=not options.no_fp32,
        int8_agreement=options.int8_agreement,
        licence=options.licence or NO_LICENCE,
        licence_notes=licence_notes,
        notes=notes,
        metrics=metrics,
        depths=options.depths,
        force=options.force,
    )
    made = run(load_trained(checkpoint), options.output, settings, speech or (SAMPLE,), _tell)
    _print(made, options.output)
    return OK


def _recordings(arguments: Sequence[str]) -> list[str]:
    """At most _MOST_CLIPS of the recordings that the arguments name, evenly spread over them."""
    from leanformer.cli.sources import sources_of, without_repeats

    sources = without_repeats([source for argument in arguments for source in sources_of(argument)])
    if any(source.is_stdin for source in sources):
        raise UsageError("--data -: name recordings or folders; an export is verified on files")
    size = min(_MOST_CLIPS, len(sources))
    return [sources[place * len(sources) // size].name for place in range(size)]


def _read_metrics(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        values = json.loads(_read(path))
    except ValueError as error:
        raise LeanformerError(
            f"{path}: not valid JSON ({error}); expected what `evaluate --json` wrote"
        ) from error
    if not isinstance(values, dict) or not isinstance(values.get("total"), dict):
        raise LeanformerError(f'{path}: no "total" in it; expected what `leanformer evaluate --json` wrote')
    return values


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise LeanformerError(f"{path}: cannot be read ({reason})") from error


def _tell(line: str) -> None:
    print(f"{line} ...", file=sys.stderr, flush=True)


def _print(made: Exported, target: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("on real speech")
    table.add_column("found", justify="right")
    table.add_column("must be")
    for check in made.checks:
        table.add_row(check.title, f"{check.value:.3g}", check.bound)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    console.print(table)
    graphs = ", ".join(f"{kind} {size / 1e6:.1f} MB" for kind, size in made.sizes.items())
    console.print(
        f"{target}: {made.model.name}, {graphs}; {made.quantized} nodes in int8", markup=False, soft_wrap=True
    )
