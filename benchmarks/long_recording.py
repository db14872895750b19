"""A long recording made of real clips with known gaps: is it understood as well as its clips one by one?

    python benchmarks/long_recording.py --hours 3
    python benchmarks/long_recording.py --hours 0.5 --beam 8 --lm default --corpus mini_librispeech
    python benchmarks/long_recording.py --hours 0.5 --no-endpoint

The dev clips come in a random order, again and again, with 0.3 to 3 s of low noise after each, made while they are
heard. Words are counted as lost or doubled at a join if they are among the first or last two of a clip: lost, if
they were heard right in the clip alone and are left out in the recording; doubled, if a word comes twice running
that comes once in the clip alone. Peak memory is that of the process, after two minutes and at the end.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
import environment  # noqa: F401 - first: it finds the project's Python
from jiwer import process_words

from leanformer.audio.blocks import read_blocks
from leanformer.data.layouts.selection import default_data_folder
from leanformer.evaluate.corpus import Clip, read_clips
from leanformer.runtime.endpoint import Endpointing
from leanformer.runtime.events import Endpoint, Final
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.transcript import Word

RATE = 16_000
GAP = (0.3, 3.0)
NOISE = 0.0005  # -66 dB, as quiet as a good recording's own
WARM_SECONDS = 120
EDGE_WORDS = 2


@dataclass
class Recording:
    """The clips as they are heard, and when each began and ended."""

    clips: list[Clip]
    hours: float
    seed: int
    order: list[tuple[Clip, float, float]] = field(default_factory=list)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The recording, a clip or a gap at a time."""
        generator, now = np.random.default_rng(self.seed), 0.0
        while True:
            for place in generator.permutation(len(self.clips)):
                if now >= self.hours * 3600:
                    return
                clip = self.clips[place]
                samples = np.concatenate(list(read_blocks(clip.utterance.path, sample_rate=RATE)))
                yield samples
                start, now = now, now + len(samples) / RATE
                self.order.append((clip, start, now))
                noise = NOISE * generator.standard_normal(int(RATE * generator.uniform(*GAP)))
                yield noise.astype(np.float32)
                now += len(noise) / RATE


def peak_mb() -> float:
    """The process's peak memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def hear(
    recognizer: Recognizer, recording: Recording, how: Endpointing | None
) -> tuple[list[Word], dict[str, float]]:
    """All words of the recording, and what it cost."""
    words: list[Word] = []
    ends, warm, seconds = 0, 0.0, 0.0
    begin = time.process_time()

    def counted() -> Iterator[NDArray[np.float32]]:
        nonlocal warm, seconds
        for block in recording.blocks():
            seconds += len(block) / RATE
            yield block
            if not warm and seconds > WARM_SECONDS:
                warm = peak_mb()

    for event in recognizer.events(counted(), RATE, endpoint=how):
        if isinstance(event, Final):
            words += event.segment.words
        ends += isinstance(event, Endpoint)
    cost = {
        "seconds": seconds,
        "cpu": time.process_time() - begin,
        "ends": ends,
        "warm": warm,
        "peak": peak_mb(),
    }
    return words, cost


def by_clip(words: list[Word], order: list[tuple[Clip, float, float]]) -> list[list[str]]:
    """The words of the recording, those of each clip: by their middle, with a gap divided between its neighbours."""
    borders = [(end + start) / 2 for (_, _, end), (_, start, _) in pairwise(order)]
    found: list[list[str]] = [[] for _ in order]
    for word in words:
        found[int(np.searchsorted(borders, (word.start + word.end) / 2))].append(word.word)
    return found


def right(said: str, heard: str) -> set[int]:
    """Places of the words of `said` that were heard right."""
    if not said:
        return set()
    chunks = process_words(said, heard).alignments[0]
    return {i for one in chunks if one.type == "equal" for i in range(one.ref_start_idx, one.ref_end_idx)}


def lost(said: str, alone: str, together: str) -> int:
    """Words at the edges of a clip, right when heard alone, that the recording leaves out."""
    count = len(said.split())
    edges = {*range(min(EDGE_WORDS, count)), *range(max(0, count - EDGE_WORDS), count)}
    chunks = process_words(said, together).alignments[0]
    left_out = {
        i for one in chunks if one.type == "delete" for i in range(one.ref_start_idx, one.ref_end_idx)
    }
    return len(edges & right(said, alone) & left_out)


def doubled(words: list[str]) -> int:
    """Words at the edges that repeat the one before."""
    edges = {*range(1, EDGE_WORDS + 1), *range(len(words) - EDGE_WORDS, len(words))}
    return sum(0 < place < len(words) and words[place] == words[place - 1] for place in edges)


def percent(said: list[str], heard: list[str]) -> float:
    """Word error rate."""
    return 100 * float(process_words(said, heard).wer)


def dev_clips(data: Path | None, corpora: list[str] | None) -> list[Clip]:
    """The clips of the dev split."""
    folder = data or default_data_folder()
    return list(read_clips([folder / name for name in corpora] if corpora else [folder]).clips)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--corpus", nargs="+", help="only these corpora; default: all that have a dev part")
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--lm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-endpoint", action="store_true", help="one utterance, as a control")
    chosen = parser.parse_args()
    recognizer = Recognizer.load(chosen.model, beam=chosen.beam, lm=chosen.lm)
    recording = Recording(dev_clips(chosen.data, chosen.corpus), chosen.hours, chosen.seed)
    how = None if chosen.no_endpoint else Endpointing()
    words, cost = hear(recognizer, recording, how)
    alone = {}
    for clip in {clip.name: clip for clip, _, _ in recording.order}.values():
        alone[clip.name] = recognizer.transcribe(clip.utterance.path).text
    show(recording, by_clip(words, recording.order), alone, cost)


def show(
    recording: Recording, together: list[list[str]], alone: dict[str, str], cost: dict[str, float]
) -> None:
    """Print what was found."""
    clips = [clip for clip, _, _ in recording.order]
    said = [clip.utterance.text for clip in clips]
    apart, joined = [alone[clip.name] for clip in clips], [" ".join(words) for words in together]
    missing = sum(lost(*three) for three in zip(said, apart, joined, strict=True))
    gained = sum(lost(text, other, one) for text, one, other in zip(said, apart, joined, strict=True))
    twice = sum(
        max(0, doubled(words) - doubled(one.split())) for words, one in zip(together, apart, strict=True)
    )
    spoken = sum(len(text.split()) for text in said)
    print(f"{cost['seconds'] / 3600:.2f} h, {len(clips)} clips ({len(alone)} different), {spoken} words")
    print(f"clips one by one    WER {percent(said, apart):.2f} %")
    print(f"one recording       WER {percent(said, joined):.2f} %   words by clip")
    print(
        f"                    WER {percent([' '.join(said)], [' '.join(filter(None, joined))]):.2f} %   as one text"
    )
    print(f"at joins            {missing} words lost, {gained} found that were lost alone, {twice} doubled")
    print(f"endpoints           {cost['ends']:.0f}")
    print(f"peak memory         {cost['warm']:.1f} MB after 2 minutes, {cost['peak']:.1f} MB at the end")
    print(
        f"processing          {cost['cpu'] / cost['seconds']:.4f} of real time (CPU seconds, reading included)"
    )


if __name__ == "__main__":
    main()
