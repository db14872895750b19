"""What recognisers take for a second of audio, in turns: what else the machine does then falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import environment  # noqa: F401 - before whatever needs torch

from leanformer.audio.load import load_audio
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.recognizer import Recognizer

RATE = 16_000


def cpu_in_turns(
    recognizers: Mapping[str, Recognizer], paths: Sequence[Path], rounds: int = 5
) -> dict[str, float]:
    """CPU seconds for a second of audio, features and search included: the median over rounds.

    In each round every recogniser hears the same recordings, one recording after another, all in turn on each.
    """
    audio = [load_audio(path, RATE) for path in paths]
    seconds = sum(len(samples) for samples in audio) / RATE
    taken: dict[str, list[float]] = {name: [] for name in recognizers}
    for number in range(rounds + 1):  # the first is a warm-up
        this_round = dict.fromkeys(recognizers, 0.0)
        for samples in audio:
            for name, recognizer in recognizers.items():
                begin = time.process_time()
                recognizer.transcribe(samples, RATE)
                this_round[name] += time.process_time() - begin
        for name, one in this_round.items():
            if number:
                taken[name].append(one / seconds)
    return {name: statistics.median(values) for name, values in taken.items()}


def graph_bytes(bundle: Path, precision: str, first_pass_only: bool = False, decoder: str = "ctc") -> int:
    """Bytes of the graphs that a recogniser runs: of one pass or both, and of a transducer's predictor and joiner."""
    manifest = Bundle.open(bundle).manifest
    names = [manifest.graphs[precision]]
    if manifest.second is not None and not first_pass_only:
        names.append(manifest.second.graphs[precision])
    if decoder == "transducer" and manifest.transducer is not None:
        names += [manifest.transducer.predictor, manifest.transducer.joiner]
    return sum((bundle / name).stat().st_size for name in names)
