"""What a model hears, before any search: computed once, so that searches can be tried on it many times."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from leanformer.data.layouts.utterance import Utterance
from leanformer.decoder.hypothesis import Hypothesis
from leanformer.decoder.search import Reads
from leanformer.evaluate.excerpt import read_excerpt
from leanformer.runtime.recognizer import Recognizer

Frames = NDArray[np.float32]


def posteriors(recognizer: Recognizer, utterance: Utterance, reads: Reads = "log_probs") -> Frames:
    """(T, V) log-probabilities, exactly as a stream gives them to its search; of the last pass, if there are two.

    With `reads` "encoder_out" it is (T, D) of the encoder, as a transducer's search reads it.

    Raises:
        AudioError: the sound cannot be read.
    """
    recorder = _Recorder(reads=reads)
    hearing = recognizer.with_search(recorder)
    if utterance.start is None and utterance.channel is None:
        hearing.transcribe(utterance.path)
    else:
        hearing.transcribe(*read_excerpt(utterance))
    # The search of the last pass is begun last.
    heard = [steps for steps in recorder.heard if steps]
    return np.concatenate(heard[-1]) if heard else np.zeros((0, 0), np.float32)


@dataclass(slots=True)
class _Recorder:
    """A search that finds nothing and keeps all; a state is the place of a stream's pass in `heard`."""

    heard: list[list[Frames]] = field(default_factory=list)
    reads: Reads = "log_probs"

    def initial_state(self) -> int:
        self.heard.append([])
        return len(self.heard) - 1

    def step(self, state: int, log_probs: Frames) -> int:
        self.heard[state].append(log_probs.copy())
        return state

    def hypothesis(self, state: int) -> Hypothesis:
        return Hypothesis((), (), 0.0, ())

    def settled(self, state: int) -> int:
        return 0

    def drop(self, state: int, count: int) -> int:
        return state
