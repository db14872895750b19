"""Transducers for tests of the searches: scripted ones that say what frames tell them to, and small random ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leanformer.decoder.transducer import (
    Memory,
    Prefix,
    Transducer,
    TransducerGreedySearch,
    TransducerState,
)
from leanformer.decoder.transducer_beam import TransducerBeamSearch

Search = TransducerGreedySearch | TransducerBeamSearch
SIZE = 3  # of everything in a random model


class Bigrams:
    """A scorer whose state is the last token: a table says what each next one adds, and what is hoped for."""

    def __init__(self, seed: int, vocabulary: int) -> None:
        random = np.random.default_rng(seed + 3)
        self.table = 2.0 * random.normal(size=(vocabulary, vocabulary))
        self.hope = 3.0 * random.random(vocabulary)

    def initial_state(self) -> int:
        return 0

    def advance(self, states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return tokens

    def rows(self, states: np.ndarray) -> np.ndarray:
        return self.table[states]

    def unearned(self, states: np.ndarray) -> np.ndarray:
        return self.hope[states]

    def total(self, tokens: tuple[int, ...]) -> float:
        """What all of a hypothesis's tokens add, and stays if nothing follows."""
        pairs = zip((0, *tokens), tokens, strict=False)
        return float(sum(self.table[pair] for pair in pairs) - self.hope[(0, *tokens)[-1]])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


class RandomPredictor:
    """A recurrent network: its output and state depend on all tokens said."""

    def __init__(self, seed: int, vocabulary: int) -> None:
        random = np.random.default_rng(seed)
        self.embedding = random.normal(size=(vocabulary, SIZE))
        self.recurrence = random.normal(size=(SIZE, SIZE))

    def initial_state(self) -> Memory:
        return np.zeros((1, SIZE)), np.zeros((1, 2), np.int64)

    def step(self, tokens: np.ndarray, state: Memory) -> tuple[np.ndarray, Memory]:
        hidden, counts = state
        hidden = np.tanh(self.embedding[tokens] + hidden @ self.recurrence)
        return hidden, (hidden, counts + 1)


class RandomJoiner:
    """Any label can follow any other, at any frame; blanks are likelier."""

    def __init__(self, seed: int, vocabulary: int) -> None:
        random = np.random.default_rng(seed + 1)
        self.output = 3.0 * random.normal(size=(SIZE, vocabulary))
        self.bias = np.array([1.0, *[0.0] * (vocabulary - 1)])

    def log_probs(self, encoder: np.ndarray, predictor: np.ndarray) -> np.ndarray:
        return log_softmax(np.tanh(encoder + predictor) @ self.output + self.bias)

    def label_log_probs(self, predictor: np.ndarray) -> np.ndarray:
        return log_softmax(np.tanh(predictor) @ self.output[:, 1:])


def random_model(seed: int, vocabulary: int = 4, weight: float = 0.0) -> Transducer:
    return Transducer(RandomPredictor(seed, vocabulary), RandomJoiner(seed, vocabulary), weight)


def random_frames(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed + 2).normal(size=(count, SIZE)).astype(np.float32)


class CountingPredictor:
    """Tells how many tokens were said."""

    def initial_state(self) -> Memory:
        return (np.full((1, 1), -1.0),)

    def step(self, tokens: np.ndarray, state: Memory) -> tuple[np.ndarray, Memory]:
        return state[0] + 1.0, (state[0] + 1.0,)


@dataclass(frozen=True)
class ScriptedJoiner:
    """A frame (1,) holds how many tokens of the script should have been said by its end."""

    script: tuple[int, ...]
    vocabulary: int = 5

    def log_probs(self, encoder: np.ndarray, predictor: np.ndarray) -> np.ndarray:
        scores = np.full((len(encoder), self.vocabulary), np.log(0.1 / (self.vocabulary - 1)))
        for row, (due, said) in enumerate(zip(encoder[:, 0], predictor[:, 0], strict=True)):
            scores[row, self.script[int(said)] if said < due else 0] = np.log(0.9)
        return scores


def search_in_steps(search: Search, frames: np.ndarray, sizes: list[int]) -> TransducerState:
    state = search.initial_state()
    for size in [*sizes, len(frames)]:
        state, frames = search.step(state, frames[:size]), frames[size:]
    return state


class TwinJoiner:
    """The first frame says 1 or 2, nearly alike; then there is silence."""

    def log_probs(self, encoder: np.ndarray, predictor: np.ndarray) -> np.ndarray:
        talks = (encoder[:, :1] > 0) & (predictor[:, :1] == 0)
        return np.log(np.where(talks, [[0.02, 0.5, 0.48]], [[0.98, 0.01, 0.01]]))

    def label_log_probs(self, predictor: np.ndarray) -> np.ndarray:
        return np.tile(np.log([0.9, 0.1]), (len(predictor), 1))


def searches(model: Transducer) -> list[Search]:
    return [
        TransducerGreedySearch(model, 2),
        TransducerBeamSearch(model, 1, 2),
        TransducerBeamSearch(model, 3, 3, patience=5),
        TransducerBeamSearch(model, 6, 1),
        TransducerBeamSearch(model, 3, 2, patience=5, scorers=[Bigrams(0, 4)], vocabulary_size=4),
    ]


def prefix(*pairs: tuple[int, int]) -> Prefix:
    """Tokens at their times, as the predictor that counts them remembers them."""
    tokens, times = (tuple(column) for column in zip(*pairs, strict=True)) if pairs else ((), ())
    said = np.full(1, float(len(pairs)))
    return Prefix(tokens, times, (0.0,) * len(pairs), -float(len(pairs)), said, (said,))
