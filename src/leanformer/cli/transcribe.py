"""`leanformer transcribe`: speech in files, folders or standard input becomes text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from leanformer.cli.decoding import USUAL, Decoding
from leanformer.cli.outcome import OK, UsageError, report
from leanformer.cli.outputs import output_names
from leanformer.cli.sources import Source, sources_of, without_repeats
from leanformer.errors import LeanformerError
from leanformer.runtime.bundle import DEFAULT, Precision
from leanformer.runtime.formats import SUFFIXES, Format

_Inputs = Parameter(name="FILE|GLOB|DIR|-", negative=(), required=True)
_AtLeastOne = Parameter(validator=validators.Number(gte=1))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """How to transcribe."""

    format: Annotated[Format, Parameter(name=["--format", "-f"])] = "text"
    "What to write. text has a line for each segment, json an object for each file on one line."

    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None
    "Write a file for each input into this folder, replacing older ones. Default: standard output."

    model: str = DEFAULT
    "The bundle to run: a folder that `leanformer export` wrote, or `default`."

    chunk_ms: Annotated[int | None, _AtLeastOne] = None
    "Milliseconds of speech that the model sees at a time: more is more accurate, and later."

    precision: Precision | None = None
    "The weights to use. Default: int8 if the bundle has them."

    first_pass: Annotated[bool, Parameter(negative=())] = False
    "Leave the second pass out, if the model has one: final words come sooner, with more errors."

    depth: int | None = None
    "Layers of the first pass to run, of those that the bundle was exported for: fewer are faster, and hear worse."

    endpoint: Annotated[bool, Parameter(negative="--no-endpoint")] = True
    "Begin anew after each pause, as the model learnt it. Otherwise a recording is one utterance, however long."

    jobs: Annotated[int, Parameter(name=["--jobs", "-j"]), _AtLeastOne] = 1
    "Files to work on at the same time; the threads share one copy of the weights."

    raw_rate: Annotated[int, _AtLeastOne] = 16_000
    "Samples a second of headerless (s16le, mono) audio on standard input."

    doubtful: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1))] | None = None
    """Mark words of less confidence than this in subtitles: italics in srt, class `doubtful` in vtt. json has the
    confidence of each word."""

    text_form: Annotated[str | None, Parameter(name="--text-form")] = None
    """MODULE:FUNCTION, a Python function from text to text: capitals, digits. For text and json; words keep their
    form."""

    live: Annotated[bool, Parameter(negative=())] = False
    "Show the text on standard error while it is being understood."

    real_time: Annotated[bool, Parameter(negative=())] = False
    "Hear files no faster than they were spoken."

    stats: Annotated[bool, Parameter(negative=())] = False
    "End with a line on standard error: model, seconds of audio, seconds of processing, real-time factor."


def transcribe(
    *inputs: Annotated[str, _Inputs], options: Options = Options(), decoding: Decoding = USUAL
) -> int:
    """Write down the speech in files, folders or standard input.

    Reads every format that libsndfile knows, at any rate and number of channels. Standard input (-) may be
    WAV or raw samples, and is transcribed while it is spoken. When a file fails, the others are still
    transcribed, and the exit code is 1.

    Args:
        inputs: Audio files, quoted patterns such as '*.flac', folders (searched with their subfolders), or -.
    """
    sources, code = _find(inputs)
    if not sources:
        return code
    shared = len(sources) > 1 and options.output is None
    if shared and options.format in ("srt", "vtt"):
        raise UsageError(f"{options.format} of {len(sources)} files cannot go to one output: add -o FOLDER")
    if options.doubtful is not None and options.format not in ("srt", "vtt"):
        raise UsageError(
            f"--doubtful marks words in srt and vtt, not in {options.format}; add -f vtt, or leave it out"
        )
    if options.text_form is not None and options.format in ("srt", "vtt"):
        raise UsageError(
            f"--text-form changes whole segments, and {options.format} shows single words; take -f text or json"
        )
    # Here, not above, for a quick --help.
    from leanformer.cli.display import display_for
    from leanformer.cli.text_form import find_text_form
    from leanformer.cli.work import Task, Work
    from leanformer.runtime.recognizer import DEFAULT_ENDPOINT, Recognizer

    recognizer = Recognizer.load(
        options.model,
        precision=options.precision,
        chunk_ms=options.chunk_ms,
        first_pass_only=options.first_pass,
        text_form=None if options.text_form is None else find_text_form(options.text_form),
        depth=options.depth,
        **decoding.settled(options.model).arguments(),
    )
    tasks = [Task(source, target) for source, target in zip(sources, _targets(sources, options), strict=True)]
    audio_seconds = busy_seconds = 0.0
    with display_for(sources, options.live) as display:
        work = Work(
            recognizer,
            display,
            options.format,
            options.raw_rate,
            options.real_time,
            shared,
            options.doubtful or 0.0,
            DEFAULT_ENDPOINT if options.endpoint else None,
        )
        for done in work.in_order(tasks, options.jobs):
            if done.text:
                with display.hidden():
                    sys.stdout.write(done.text)
                    sys.stdout.flush()
            if done.error is not None:
                with display.hidden():
                    code = report(done.error)
            audio_seconds += done.audio_seconds
            busy_seconds += done.busy_seconds
    if options.stats:
        _print_stats(recognizer.name, audio_seconds, busy_seconds)
    return code


def _find(inputs: Sequence[str]) -> tuple[list[Source], int]:
    """The sources of all arguments, and ERROR if one of them was reported to have none."""
    sources: list[Source] = []
    code = OK
    for argument in inputs:
        try:
            sources += sources_of(argument)
        except LeanformerError as error:
            code = report(error)
    return without_repeats(sources), code


def _targets(sources: Sequence[Source], options: Options) -> list[Path | None]:
    folder = options.output
    if folder is None:
        return [None] * len(sources)
    return [folder / name for name in output_names(sources, SUFFIXES[options.format])]


def _print_stats(name: str, audio_seconds: float, busy_seconds: float) -> None:
    factor = f"{busy_seconds / audio_seconds:.3f}" if audio_seconds else "-"
    print(
        f"model {name} | audio {audio_seconds:.2f} s | processing {busy_seconds:.2f} s | "
        f"real-time factor {factor}",
        file=sys.stderr,
    )
