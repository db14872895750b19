"""`leanformer tune --words`: times and confidence of words, fitted and written into the bundle."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from leanformer.data.progress import progress_bar
from leanformer.decoder.search import Search
from leanformer.errors import ConfigError
from leanformer.evaluate.corpus import Clip
from leanformer.evaluate.fit_words import Frames, check_words, fit_calibration, fit_word_times
from leanformer.evaluate.posteriors import posteriors
from leanformer.evaluate.word_ends import read_spans
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.manifest import FILE_NAME, TRANSDUCER
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.searching import find_transducer, make_search, search_kind
from leanformer.runtime.word_fit import write_word_fit
from leanformer.runtime.words import WordMaker

if TYPE_CHECKING:
    from leanformer.cli.tune import Options


def tune_words(name: str, options: Options) -> None:
    """Fit what each search of the bundle finds; times on the first of them, and only with an alignment."""
    from leanformer.cli.tune import clips_of

    bundle = Bundle.open(name)
    speakers = options.speakers or "even"
    clips = clips_of(options, speakers)
    spans = None if options.alignments is None else read_spans(options.alignments, clips)
    frame_seconds = bundle.manifest.step_ms / 1000
    confidence, times, said = dict(bundle.manifest.words.confidence), bundle.manifest.words.times, ""
    for recognizer, search, heard in _searches(bundle, clips, options):
        checked = list(check_words(search, clips, heard, WordMaker(recognizer.tokenizer, frame_seconds)))
        found = fit_calibration(checked)
        confidence[search_kind(search)] = found.calibration
        errors = f"{found.before.ece:.3f} -> {found.after.ece:.3f}"
        print(f"{search_kind(search)}: {found.after.words} words, calibration error {errors}", flush=True)
        if spans is not None and not said:
            times, count = fit_word_times(checked, spans, frame_seconds)
            said = f", times on {count} words"
            print(
                f"times: {times.lead_ms_per_letter:g} ms for each letter of the first token before its frame, "
                f"{times.lag_ms:g} ms after the last one's; neighbours meet at {times.share:g} of the way"
            )
    if spans is None:
        print("times: left as they are; to fit them, add --alignments FILE", file=sys.stderr)
    path = bundle.folder / FILE_NAME
    fitted = f"{speakers} speakers, {len(clips)} clips of split {options.split}{said}"
    write_word_fit(path, replace(bundle.manifest.words, times=times, confidence=confidence, fitted=fitted))
    print(f"{path}: written; fitted on {fitted}")


def _searches(
    bundle: Bundle, clips: Sequence[Clip], options: Options
) -> Iterator[tuple[Recognizer, Search[Any], list[Frames]]]:
    """Every search that the bundle can do, with what it reads of each clip."""
    for decoder in bundle.manifest.decoders:
        recognizer = Recognizer.load(bundle.folder, chunk_ms=options.chunk_ms, decoder=decoder)
        transducer = find_transducer(bundle, decoder)
        searches = [make_search(recognizer.tokenizer, beam, None, transducer) for beam in (1, options.beam)]
        if decoder != TRANSDUCER:
            try:
                searches.append(make_search(recognizer.tokenizer, options.beam, options.lm))
            except ConfigError as error:  # for another tokenizer, most likely, or there is none
                print(f"beam+lm: left as it is: {error}", file=sys.stderr)
        heard: list[Frames] = []
        with progress_bar("listening") as progress:
            for clip in clips:
                heard.append(posteriors(recognizer, clip.utterance, searches[0].reads))
                progress(len(heard), len(clips))
        for search in searches:
            yield recognizer, search, heard
