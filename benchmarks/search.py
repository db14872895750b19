"""What the searches cost, in CPU seconds per second of speech on one thread, without the model.

    python benchmarks/search.py
    python benchmarks/search.py --lm default --hotwords 1000 --beam 1 8 16
    python benchmarks/search.py --audio ../shared/data/mini_librispeech/clips/*.opus

Without --audio the log-probabilities are made up, as peaked and as full of blanks as those of a trained model: 25
frames a second, 400 tokens, a token every third frame. Frames come 16 at a time, as in a stream, and settled tokens
are dropped. All settings take turns, and the median over the rounds is shown.
"""

from __future__ import annotations

import os

# Before NumPy is there: its matrix products would use all processors.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanformer.data.layouts.utterance import Utterance
from leanformer.decoder.ctc import GreedySearch
from leanformer.decoder.search import Search
from leanformer.evaluate.posteriors import posteriors
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.searching import make_search, with_hotwords
from leanformer.text.tokenizer import Tokenizer

FRAMES_PER_SECOND = 25
STEP = 16


def made_up(seconds: int, vocabulary: int, seed: int = 0) -> NDArray[np.float32]:
    """(T, V) log-probabilities: a third of the frames speak, with a few tokens in doubt."""
    generator = np.random.default_rng(seed)
    frames = FRAMES_PER_SECOND * seconds
    logits = generator.normal(0, 1.5, (frames, vocabulary))
    logits[:, 0] += 9
    (speaking,) = np.nonzero(generator.random(frames) < 1 / 3)
    for rank in range(8):
        logits[speaking, generator.integers(1, vocabulary, len(speaking))] += 11 - rank
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def measure(search: Search[Any], log_probs: NDArray[np.float32]) -> float:
    """CPU seconds for the frames (T, V)."""
    begin = time.process_time()
    state = search.initial_state()
    for start in range(0, len(log_probs), STEP):
        state = search.step(state, log_probs[start : start + STEP])
        state = search.drop(state, search.settled(state))
        search.hypothesis(state)
    return time.process_time() - begin


def phrases(tokenizer: Tokenizer, count: int) -> list[str]:
    """So many different phrases of two words, spelled at random."""
    generator = np.random.default_rng(1)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(row) for row in letters[generator.integers(26, size=(2 * count, 6))]]
    return [" ".join(pair) for pair in zip(words[::2], words[1::2], strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--beam", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--lm", help="a language model's file, or default")
    parser.add_argument("--hotwords", type=int, default=0, help="how many phrases")
    parser.add_argument("--audio", type=Path, nargs="+", default=[])
    parser.add_argument("--seconds", type=int, default=60, help="of made-up speech")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    tokenizer = Tokenizer.load(Bundle.open(chosen.model).tokenizer_path)
    if chosen.audio:
        recognizer = Recognizer.load(chosen.model)
        log_probs = np.concatenate([posteriors(recognizer, Utterance(p.stem, p, "")) for p in chosen.audio])
    else:
        log_probs = made_up(chosen.seconds, len(tokenizer))
    searches: dict[str, Search[Any]] = {"greedy": GreedySearch()}
    lm = chosen.lm if chosen.lm in (None, "default") else Path(chosen.lm)
    for beam in chosen.beam:
        searches[f"beam {beam}"] = make_search(tokenizer, beam)
        if lm is not None:
            searches[f"beam {beam} + lm"] = make_search(tokenizer, beam, lm)
        if chosen.hotwords:
            last = searches[f"beam {beam}" + (" + lm" if lm else "")]
            name = f"beam {beam}{' + lm' if lm else ''} + {chosen.hotwords} hotwords"
            searches[name] = with_hotwords(last, phrases(tokenizer, chosen.hotwords), tokenizer)
    taken: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(chosen.rounds):
        for name, search in searches.items():
            taken[name].append(measure(search, log_probs) / len(log_probs) * FRAMES_PER_SECOND)
    skipped = float(np.mean(np.exp(log_probs[:, 0]) >= 0.999))
    print(f"{len(log_probs)} frames, {skipped:.0%} of them sure blanks")
    for name, factors in taken.items():
        print(f"{name:32s} {statistics.median(factors):.5f} of real time")


if __name__ == "__main__":
    main()
