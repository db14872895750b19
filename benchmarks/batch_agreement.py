"""How far streams in a batch differ from the same streams alone.

    python benchmarks/batch_agreement.py --corpus mini_librispeech --limit 48 --streams 16
    python benchmarks/batch_agreement.py --beam 1

Dynamic int8 takes one scale for all rows of a batch, so there a stream's figures depend a little on its company; in
fp32 they do not, but for the last bits. Clips are heard one by one, then `--streams` at a time: as one ends, the next
joins. Shown are the differences of the last pass's probabilities, at all frames and tokens, and the error rates.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
import environment  # noqa: F401 - first: it finds the project's Python
from jiwer import process_words

from leanformer.audio.blocks import read_blocks
from leanformer.data.layouts.selection import default_data_folder
from leanformer.decoder.hypothesis import Hypothesis
from leanformer.decoder.search import Search
from leanformer.evaluate.corpus import Clip, read_clips
from leanformer.runtime.batch import Batch
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.stream import Stream

RATE = 16_000


@dataclass(eq=False)
class Listening:
    """A search that keeps what it hears. A state is that of the search within, and the frames so far."""

    within: Search[Any]
    begun: list[list[NDArray[np.float32]]] = field(default_factory=list)
    reads: Any = "log_probs"

    def initial_state(self) -> tuple[Any, list[NDArray[np.float32]]]:
        self.begun.append([])
        return self.within.initial_state(), self.begun[-1]

    def step(self, state: Any, frames: NDArray[np.float32]) -> Any:
        state[1].append(np.exp(frames))
        return self.within.step(state[0], frames), state[1]

    def hypothesis(self, state: Any) -> Hypothesis:
        return self.within.hypothesis(state[0])

    def settled(self, state: Any) -> int:
        return self.within.settled(state[0])

    def drop(self, state: Any, count: int) -> Any:
        return self.within.drop(state[0], count), state[1]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(T, V) of the last pass, whose search is begun last."""
        return np.concatenate([frames for frames in self.begun if frames][-1])


@dataclass(frozen=True)
class Heard:
    """What became of a clip."""

    text: str
    probabilities: NDArray[np.float32]


def hear(recognizer: Recognizer, clips: list[Clip], streams: int) -> dict[str, Heard]:
    """All clips, `streams` at a time, a second of each in turn."""
    batch, left, open_ones = Batch(max_rows=streams), list(clips), list[tuple[str, Stream, Listening, Any]]()
    found: dict[str, Heard] = {}
    while left or open_ones:
        while left and len(open_ones) < streams:
            clip, search = left.pop(0), Listening(recognizer._search)
            stream = recognizer.with_search(search).stream(batch=batch)
            open_ones.append((clip.name, stream, search, seconds(clip)))
        for one in tuple(open_ones):
            name, stream, search, blocks = one
            if (block := next(blocks, None)) is not None:
                stream.accept_waveform(block, RATE)
            elif not stream.waiting:
                found[name] = Heard(stream.finish().text, search.probabilities)
                open_ones.remove(one)
        while batch.step():
            pass
    return found


def seconds(clip: Clip) -> Iterator[NDArray[np.float32]]:
    """The samples of a clip, a second at a time."""
    samples = np.concatenate(list(read_blocks(clip.utterance.path, sample_rate=RATE)))
    return iter([samples[start : start + RATE] for start in range(0, len(samples), RATE)])


def wer(clips: list[Clip], heard: dict[str, Heard]) -> float:
    """In %."""
    said, texts = [clip.utterance.text for clip in clips], [heard[clip.name].text for clip in clips]
    return 100 * float(process_words(said, texts).wer)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--precision", choices=("int8", "fp32"))
    parser.add_argument("--corpus", default="mini_librispeech")
    parser.add_argument("--limit", type=int, help="clips, spread over the corpus")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--beam", type=int, help="default: as in leanformer transcribe")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    chosen = parser.parse_args()
    recognizer = Recognizer.load(chosen.model, precision=chosen.precision, beam=chosen.beam)
    clips = list(read_clips([default_data_folder() / chosen.corpus], "dev", limit=chosen.limit).clips)
    alone, together = hear(recognizer, clips, 1), hear(recognizer, clips, chosen.streams)
    apart = [np.abs(alone[c.name].probabilities - together[c.name].probabilities) for c in clips]
    largest = np.concatenate([one.max(axis=1) for one in apart])  # of each frame
    best = [(alone[c.name].probabilities, together[c.name].probabilities) for c in clips]
    figures = {
        "clips": len(clips),
        "frames": len(largest),
        "largest_difference": float(largest.max()),
        "difference_p50": float(np.percentile(largest, 50)),
        "difference_p99": float(np.percentile(largest, 99)),
        "frames_with_another_best_token": float(
            np.concatenate([a.argmax(1) != b.argmax(1) for a, b in best]).mean()
        ),
        "texts_that_differ": sum(alone[c.name].text != together[c.name].text for c in clips),
        "wer_alone": wer(clips, alone),
        "wer_together": wer(clips, together),
    }
    print(f"{recognizer.name}, {chosen.streams} streams")
    for name, value in figures.items():
        print(f"{name:32s} {value:.6g}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
