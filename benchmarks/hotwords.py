"""Are rare words heard more often as hotwords, and how often where nobody said them?

    python benchmarks/hotwords.py
    python benchmarks/hotwords.py --limit 50 --weights 1 2 --decoys 0

The hotwords are the words of the clips, of five letters or more, that are rarest in books; then the same with many
others as rare that no clip has. The model hears the clips once; the searches run on what it heard. A false alarm is a
hotword in the text of a clip more often than it was said there.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
import environment  # noqa: F401 - first: it finds the project's Python

from leanformer.data.layouts.selection import default_data_folder
from leanformer.data.places import locate
from leanformer.data.sentences import Sentences
from leanformer.evaluate.corpus import read_clips
from leanformer.evaluate.posteriors import posteriors
from leanformer.evaluate.tune import search_text
from leanformer.evaluate.wer import count_errors, total
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.searching import make_search, with_hotwords

LETTERS = 5
BEAM = 8


@dataclass(frozen=True)
class Result:
    """Hotwords found where they were said, heard where they were not, and the error rate."""

    found: int
    alarms: int
    wer: float


def judge(said: Sequence[str], heard: Sequence[str], hotwords: Sequence[str]) -> Result:
    """Compare texts, clip by clip."""
    wanted = set(hotwords)
    found = alarms = 0
    for true, text in zip(said, heard, strict=True):
        there, here = (Counter(word for word in one.split() if word in wanted) for one in (true, text))
        found += (there & here).total()
        alarms += (here - there).total()
    return Result(found, alarms, total(count_errors(said, heard)).wer or 0.0)


def rare_words(
    said: Sequence[str], books: Counter[str], most: int, decoys: int
) -> tuple[list[str], list[str]]:
    """Words that are said and at most `most` times in the books, and `decoys` that are in the books only, as often."""
    words = {word for text in said for word in text.split()}
    rare = sorted(word for word in words if len(word) >= LETTERS and books[word] <= most and word.isalpha())
    others = sorted(
        word for word, count in books.items() if len(word) >= LETTERS and count <= most and word.isalpha()
    )
    others = [word for word in others if word not in words]
    drawn = np.random.default_rng(0).permutation(len(others))[:decoys]
    return rare, [others[place] for place in drawn]


def main() -> None:
    """Hear, search, and print a line for each list of hotwords and weight."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=default_data_folder(), help="corpora")
    parser.add_argument("--corpus", default="mini_librispeech")
    parser.add_argument("--limit", type=int, default=100, help="clips, spread over the corpus")
    parser.add_argument("--books", nargs="+", default=["text/books-*.txt.xz"])
    parser.add_argument("--most", type=int, default=50, help="times that a rare word is in the books")
    parser.add_argument("--decoys", type=int, default=1000, help="hotwords that nobody says")
    parser.add_argument("--weights", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0])
    chosen = parser.parse_args()

    clips = [clip for clip in read_clips([chosen.data]).clips if clip.corpus == chosen.corpus]
    clips = [clips[place] for place in np.linspace(0, len(clips) - 1, chosen.limit).astype(int)]
    said = [clip.utterance.text for clip in clips]
    books: Counter[str] = Counter()
    lines = Sentences(locate(chosen.books, [chosen.data], "books"))
    for line in lines.spread(len(lines)):
        books.update(line.split())
    rare, decoys = rare_words(said, books, chosen.most, chosen.decoys)
    times = sum(word in set(rare) for text in said for word in text.split())
    words = sum(len(text.split()) for text in said)
    print(
        f"{len(clips)} clips, {words} words; {len(rare)} rare ones, said {times} times; {BEAM=}, default lm"
    )

    recognizer = Recognizer.load()
    heard: list[NDArray[np.float32]] = [posteriors(recognizer, clip.utterance) for clip in clips]
    print("weight  phrases  found       false alarms in 1000 words  WER")
    for phrases, weights in (
        (rare, [0.0, *chosen.weights]),
        (rare + decoys, [0.0, *chosen.weights] if decoys else []),
    ):
        for weight in weights:
            search = make_search(recognizer.tokenizer, BEAM, "default")
            if weight:
                hotwords = [(phrase, weight) for phrase in phrases]
                search = with_hotwords(search, hotwords, recognizer.tokenizer)
            texts = [search_text(search, one, recognizer.tokenizer) for one in heard]
            got = judge(said, texts, phrases)
            print(
                f"{weight:6.1f}  {len(phrases):7}  {got.found:4} ({got.found / max(1, times):4.0%})"
                f"  {1000 * got.alarms / words:26.1f}  {got.wer:6.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
