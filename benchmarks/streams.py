"""Many streams in one batch: how much speech a second hears, against the number of streams.

    python benchmarks/streams.py --json streams.json
    python benchmarks/streams.py --streams 1 8 --threads 1 --chunks 4 --rounds 3
    python benchmarks/streams.py --model my-bundle --precision int8 --beam 8
    nice python benchmarks/streams.py --threads 1 --cpu

Every stream hears the sample that ships, each from another place. Each chunk of all streams is accepted, then stepped
until nobody waits; that counts as one step for each stream: features, both passes, and the search (greedy unless
--beam says otherwise). All settings take turns, after a round that does not count; shown are medians over the rounds,
and ratios to one stream, which are medians of the rounds' own.

--cpu counts the processor's seconds instead of the clock's: for a machine with other work, and for one thread, since
several count their waiting for each other, too.

A precision that the bundle lacks is exported from its config with random weights: time does not depend on them.
"""

from __future__ import annotations

import os

# Before NumPy is there: its matrix products would use all processors.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
import environment

from leanformer.audio.blocks import read_blocks
from leanformer.export.bundle import graph_file
from leanformer.profile.graphs import graphs_of, say
from leanformer.profile.latency import Latency, ratio
from leanformer.profile.subject import find_subject
from leanformer.runtime.batch import Batch
from leanformer.runtime.bundle import Bundle, Pass, Precision
from leanformer.runtime.manifest import FILE_NAME
from leanformer.runtime.recognizer import Recognizer

Clock = Callable[[], float]

PASSES: tuple[Pass, ...] = ("first", "second")
SAMPLE = environment.ROOT / "src" / "leanformer" / "models" / "sample.opus"


@dataclass(frozen=True)
class Setting:
    """What takes a turn."""

    precision: Precision
    threads: int
    streams: int


def complete(model: str, precisions: list[Precision], folder: Path) -> Path:
    """The folder of a bundle with graphs of all these precisions; if it lacks one, a copy in `folder`."""
    bundle = Bundle.open(model)
    missing = [one for one in precisions if one not in bundle.manifest.graphs]
    if not missing:
        return bundle.folder
    copy = folder / "bundle"
    shutil.copytree(bundle.folder, copy)
    manifest = json.loads((copy / FILE_NAME).read_text(encoding="utf-8"))
    subject = find_subject(model)
    passes = graphs_of(subject, subject.chunk_ms, subject.left_context, say)
    for which, graphs in zip(PASSES, passes, strict=False):
        part = manifest if which == "first" else manifest["second"]
        for precision in missing:
            name = graph_file(precision, which)
            (copy / name).write_bytes(graphs[precision])
            part["graphs"][precision] = {"file": name}
            manifest["parts"][name] = hashlib.sha256(graphs[precision]).hexdigest()
    (copy / FILE_NAME).write_text(json.dumps(manifest), encoding="utf-8")
    return copy


def measure(
    recognizer: Recognizer, streams: int, chunks: int, sample: NDArray[np.float32], clock: Clock
) -> float:
    """Milliseconds that one chunk of one stream takes."""
    rate, batch = recognizer.sample_rate, Batch(max_rows=streams)
    size = recognizer.chunk_ms * rate // 1000
    opened = [recognizer.stream(batch=batch) for _ in range(streams)]
    heard = [np.resize(np.roll(sample, -number * size), size * chunks) for number in range(streams)]
    begin = clock()
    for chunk in range(chunks):
        for stream, samples in zip(opened, heard, strict=True):
            stream.accept_waveform(samples[chunk * size : (chunk + 1) * size], rate)
        while batch.step():
            pass
    taken = clock() - begin
    for stream in opened:
        stream.close()
    return 1000 * taken / (streams * chunks)


def race(
    recognizers: dict[tuple[Precision, int], Recognizer],
    counts: list[int],
    chunks: int,
    rounds: int,
    clock: Clock = time.perf_counter,
) -> dict[Setting, Latency]:
    """The milliseconds of each setting's turns, after one that does not count."""
    sample = np.concatenate(list(read_blocks(SAMPLE, sample_rate=16_000)))
    settings = [Setting(*which, count) for which in recognizers for count in counts]
    turns: dict[Setting, list[float]] = {setting: [] for setting in settings}
    for turn in range(rounds + 1):
        for setting in settings:
            recognizer = recognizers[setting.precision, setting.threads]
            taken = measure(recognizer, setting.streams, chunks, sample, clock)
            if turn:
                turns[setting].append(taken)
    return {setting: Latency(tuple(taken)) for setting, taken in turns.items()}


def table(found: dict[Setting, Latency], chunk_ms: int) -> list[dict[str, object]]:
    """A row for each setting; `gain` is throughput as a multiple of that of the fewest streams."""
    rows = []
    for setting, latency in found.items():
        fewest = min(
            (one for one in found if (one.precision, one.threads) == (setting.precision, setting.threads)),
            key=lambda one: one.streams,
        )
        rows.append(
            {
                "precision": setting.precision,
                "threads": setting.threads,
                "streams": setting.streams,
                "ms_per_stream_step": round(latency.p50, 3),
                "ms_per_step_of_all": round(latency.p50 * setting.streams, 3),
                "audio_seconds_per_second": round(chunk_ms / latency.p50, 1),
                "gain": round(ratio(found[fewest], latency), 3),
                "turns_ms": [round(taken, 4) for taken in latency.turns],
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--precision", nargs="+", choices=("int8", "fp32"), default=["int8", "fp32"])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--beam", type=int, default=1, help="with the model's usual language model if above 1"
    )
    parser.add_argument("--chunks", type=int, default=10, help="that each stream hears in a turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cpu", action="store_true", help="count CPU seconds; with --threads 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all turns")
    chosen = parser.parse_args()
    if chosen.cpu and chosen.threads != [1]:
        parser.error("--cpu is for one thread: add --threads 1")
    with tempfile.TemporaryDirectory(prefix="leanformer-") as folder:
        model = complete(chosen.model, chosen.precision, Path(folder))
        lm = "default" if chosen.beam > 1 and chosen.model == "default" else None
        recognizers = {
            (precision, threads): Recognizer.load(
                model, precision=precision, threads=threads, beam=chosen.beam, lm=lm
            )
            for precision in chosen.precision
            for threads in chosen.threads
        }
    any_of_them = next(iter(recognizers.values()))
    clock = time.process_time if chosen.cpu else time.perf_counter
    found = race(recognizers, chosen.streams, chosen.chunks, chosen.rounds, clock)
    rows = table(found, any_of_them.chunk_ms)
    print(f"{chosen.model}, chunks of {any_of_them.chunk_ms} ms, {os.cpu_count()} processors")
    print("precision  threads  streams  ms a stream-step  audio s a second  gain")
    for row in rows:
        print(
            f"{row['precision']:9}  {row['threads']:7}  {row['streams']:7}  {row['ms_per_stream_step']:16.2f}  "
            f"{row['audio_seconds_per_second']:16.1f}  {row['gain']:4.2f}"
        )
    if chosen.json is not None:
        content = {"model": chosen.model, "chunk_ms": any_of_them.chunk_ms, "cpus": os.cpu_count()}
        content |= {
            "chunks": chosen.chunks,
            "rounds": chosen.rounds,
            "beam": chosen.beam,
            "cpu": chosen.cpu,
            "settings": rows,
        }
        chosen.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
