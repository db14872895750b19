"""`leanformer evaluate`: how many words a bundle gets wrong, how fast it is, and how late its words come."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators

from leanformer.cli.decoding import USUAL, Decoding
from leanformer.cli.outcome import ERROR, OK, UsageError, report
from leanformer.cli.outputs import replacing
from leanformer.errors import DataError, LeanformerError
from leanformer.runtime.bundle import Precision

if TYPE_CHECKING:
    from leanformer.evaluate.corpus import Clip
    from leanformer.evaluate.evaluate import Outcome
    from leanformer.evaluate.latency import Measured
    from leanformer.evaluate.report import Report, Setup
    from leanformer.evaluate.word_ends import Ends, Spans
    from leanformer.runtime.recognizer import Recognizer

_AtLeastOne = Parameter(validator=validators.Number(gte=1))
_Several = Parameter(negative=(), consume_multiple=True)
# Wide enough for every figure; a terminal has its own width.
_PIPE_WIDTH = 110
_REASONS_SHOWN = 5


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What to evaluate on, and how."""

    data: Annotated[tuple[Path, ...], _Several] = ()
    """Corpora, or folders of corpora: an utterances.tsv, LibriSpeech, audio with .txt beside it, or JSONL.
    Default: $LEANFORMER_DATA, else ../shared/data."""

    split: str = "dev"
    "The split to evaluate, or `all`."

    exclude: Annotated[tuple[str, ...], _Several] = ()
    "Names of corpora folders to leave out."

    limit: Annotated[int | None, _AtLeastOne] = None
    "At most so many clips of each corpus, evenly spread over it."

    speakers: Literal["all", "odd", "even"] = "all"
    "All speakers, or every second of each corpus: `odd` are those that `leanformer tune --words` did not see."

    json: Annotated[Path | None, Parameter(name="--json")] = None
    "Write the figures and the worst utterances into this file."

    worst: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 5
    "How many of the worst utterances to print."

    latency: Annotated[bool, Parameter(negative=())] = False
    """Also feed each clip as if it were being spoken, and measure how long after its end a word first comes
    and is final. Needs PocketSphinx, or --alignments."""

    times: Annotated[bool, Parameter(negative=())] = False
    """Also measure how far the starts and ends of right words are from a forced alignment. Needs PocketSphinx, or
    --alignments."""

    alignments: Path | None = None
    "For --latency and --times: what `leanformer align` wrote for this split. Default: align now."

    confidence: Annotated[bool, Parameter(negative=())] = False
    "Also compare the confidence of words with the share of them that is right."

    plot: Path | None = None
    "For --confidence: draw it into this file (.png, .svg, .pdf). Needs matplotlib."

    chunk_ms: Annotated[int | None, _AtLeastOne] = None
    "Milliseconds of speech that the model sees at a time. Default: what the model was chosen for."

    precision: Precision | None = None
    "The weights to use. Default: int8 if the bundle has them."

    first_pass: Annotated[bool, Parameter(negative=())] = False
    "Leave the second pass out, if the model has one."

    depth: Annotated[tuple[int, ...], _Several] = ()
    """Layers of the first pass to run, of those that the bundle was exported for. Several make a table of errors, time
    a chunk and modelled energy by depth, which needs the extra `export`. Default: all layers."""

    threads: Annotated[int, _AtLeastOne] = 1
    "Threads inside one step of the model."

    jobs: Annotated[int, Parameter(name=["--jobs", "-j"]), _AtLeastOne] = 1
    "Clips to work on at the same time; for a true real-time factor, no more than there are free processors."


_DEFAULTS = Options()


def evaluate(bundle: str, *, options: Options = _DEFAULTS, decoding: Decoding = USUAL) -> int:
    """Measure a bundle's word error rate and speed on transcribed speech, at one depth or at several.

    Prints the figures of each corpus and in total, with a 95 % bootstrap interval (over speakers where five
    or more are known). A clip that fails does not stop the others, but the exit code is 1.

    Args:
        bundle: A folder that `leanformer export` wrote, or `default`.
    """
    _check(options)
    if len(set(options.depth)) > 1:
        from leanformer.cli.evaluate_depths import evaluate_depths

        return evaluate_depths(bundle, options, decoding.settled(bundle))
    # Here, not above, for a quick --help.
    from leanformer.data.progress import progress_bar
    from leanformer.evaluate.evaluate import evaluate as run
    from leanformer.evaluate.report import WORST, Measures, make_report
    from leanformer.evaluate.word_ends import ends_of

    decoding = decoding.settled(bundle)
    recognizer = load(bundle, options, decoding, options.depth[0] if options.depth else None)
    clips, skipped = clips_of(options)
    spans = _word_spans(clips, options) if options.latency or options.times else None
    with progress_bar("evaluating") as progress:
        outcome = run(recognizer, clips, jobs=options.jobs, progress=progress)
    latencies = None
    if options.latency and spans is not None:
        latencies = _latencies(recognizer, outcome, ends_of(spans), options.jobs)
    more = Measures(latencies, spans if options.times else None, options.confidence)
    require_scored(outcome)
    made = make_report(
        setup_of(recognizer, options, decoding), outcome, skipped, max(WORST, options.worst), more
    )
    _print(made, options.worst)
    if options.confidence and not recognizer.calibrated:
        print("confidence is not calibrated for this search: leanformer tune BUNDLE --words", file=sys.stderr)
    if options.plot is not None:
        _draw(made, options.plot)
    if options.json is not None:
        write(made.to_dict(), options.json)
    return report_failures(made.failures)


def _check(options: Options) -> None:
    if options.json is not None and options.json.is_dir():
        raise UsageError(f"--json {options.json}: this is a folder; name a file in it")
    if options.alignments is not None and not (options.latency or options.times):
        raise UsageError(
            "--alignments is used by --latency and --times only; add one of them, or leave it out"
        )
    if options.plot is not None and not options.confidence:
        raise UsageError("--plot draws what --confidence measures; add --confidence, or leave it out")
    if len(set(options.depth)) > 1 and (options.latency or options.times or options.confidence):
        raise UsageError("--latency, --times and --confidence are measured at one --depth at a time")


def load(bundle: str, options: Options, decoding: Decoding, depth: int | None) -> Recognizer:
    """The recogniser that the options ask for, at one depth."""
    from leanformer.runtime.recognizer import Recognizer

    return Recognizer.load(
        bundle,
        precision=options.precision,
        threads=options.threads,
        chunk_ms=options.chunk_ms,
        first_pass_only=options.first_pass,
        depth=depth,
        **decoding.arguments(),
    )


def clips_of(options: Options) -> tuple[Sequence[Clip], Mapping[str, int]]:
    """The clips that the options ask for, and how many were skipped for which reason."""
    from leanformer.data.layouts.selection import default_data_folder
    from leanformer.evaluate.corpus import read_clips
    from leanformer.evaluate.speakers import of_speakers

    folders = options.data or (default_data_folder(),)
    found = read_clips(folders, options.split, exclude=options.exclude, limit=options.limit)
    return of_speakers(found.clips, options.speakers), found.skipped


def require_scored(outcome: Outcome) -> None:
    """Raise DataError if every clip failed."""
    if not outcome.scored:
        raise DataError(
            f"none of {len(outcome.failed)} clips could be transcribed: {outcome.failed[0].reason}"
        )


def setup_of(recognizer: Recognizer, options: Options, decoding: Decoding) -> Setup:
    """What ran, for a report."""
    from leanformer import __version__
    from leanformer.evaluate.report import Setup

    name, _, precision = recognizer.name.rpartition(" ")
    return Setup(
        name,
        precision,
        recognizer.chunk_ms,
        options.threads,
        options.jobs,
        options.split,
        str(__version__),
        decoding.in_words() + ", first pass only" * options.first_pass,
        options.speakers,
    )


def _draw(made: Report, path: Path) -> None:
    from leanformer.evaluate.reliability_plot import plot

    scores = {**made.corpora, **({"total": made.total} if len(made.corpora) > 1 else {})}
    plot({name: one.confidence for name, one in scores.items() if one.confidence is not None}, path)


def _word_spans(clips: Sequence[Clip], options: Options) -> Spans:
    """When the words were spoken; found first, since it is what most likely cannot be had."""
    from leanformer.data.progress import progress_bar
    from leanformer.evaluate.word_ends import align_spans, read_spans

    if options.alignments is not None:
        return read_spans(options.alignments, clips)
    with progress_bar("aligning") as progress:
        return align_spans(clips, jobs=options.jobs, progress=progress)


def _latencies(recognizer: Recognizer, outcome: Outcome, ends: Ends, jobs: int) -> dict[str, Measured]:
    from leanformer.data.progress import progress_bar
    from leanformer.evaluate.latency import measure

    with progress_bar("measuring latency") as progress:
        return measure(recognizer, outcome.scored, ends, jobs=jobs, progress=progress)


def _print(made: Report, worst: int) -> None:
    from rich.console import Console

    from leanformer.evaluate.tables import tables

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    setup = made.setup
    console.print(
        f"{setup.bundle} {setup.precision}, chunks of {setup.chunk_ms} ms, split {setup.split}"
        + f", {setup.speakers} speakers" * (setup.speakers != "all"),
        markup=False,
    )
    for table in tables(made, worst):
        console.print(table)
    for reason, count in made.skipped.items():
        console.print(f"skipped {count} {reason}", markup=False)


def write(values: Mapping[str, object], path: Path) -> None:
    """Write the file of --json."""
    text = json.dumps(values, ensure_ascii=False, indent=2) + "\n"
    try:
        if path.exists() and not path.is_file():  # /dev/stdout and the like must not be replaced
            path.write_text(text, encoding="utf-8")
            return
        with replacing(path.resolve()) as file:
            file.write(text)
    except OSError as error:
        raise LeanformerError(
            f"--json {path}: cannot be written ({error.strerror}); name another file"
        ) from error


def report_failures(failures: Mapping[str, str]) -> int:
    """Say which clips failed, and give the exit code."""
    for reason in list(failures.values())[:_REASONS_SHOWN]:
        report(DataError(reason))
    if len(failures) > _REASONS_SHOWN:
        report(DataError(f"{len(failures)} clips failed in all; --json FILE lists them with their reasons"))
    return ERROR if failures else OK
