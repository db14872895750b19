"""Training the upper layers on text alone, spoken in the model's own phone posteriors.

The phone head feeds posteriors back into the encoder, so the layers above it can be trained without audio, if
only the posteriors look real. They are: whenever audio is trained, each aligned phone's stretch of posteriors,
errors and all, goes into a bank; a sentence is "spoken" by laying drawn stretches of its phones end to end.
So a few hours of speech teach what phones sound like, and millions of words how they are spelled and follow
one another. The idea is that of text injection (Thomas et al. 2022; JOIST, Sainath et al. 2023); the bank of
posterior stretches is our own.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leanformer.data.phones import SILENCE, phone_id
from leanformer.data.sentences import Lexicon, Sentences
from leanformer.model import NUM_PHONES
from leanformer.text.tokenizer import WORD_START, Tokenizer
from leanformer.train.recipe import TextConfig

LONGEST_SLOTS = 12
STRETCHES = 256
PAUSE_PROBABILITY = 0.12
_SILENCE_ID = phone_id(SILENCE)


@dataclass(frozen=True)
class TextBatch:
    """Sentences as posteriors (B, T', slots, NUM_PHONES) with `lengths` (B,), and their tokens.

    `places` (B, U) is the frame in which each token's last sound ends, strictly rising within a row as far as
    there are frames: since the sounds were laid down one by one, the alignment is known.
    """

    posteriors: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    places: Tensor


class PosteriorBank:
    """For each phone a ring of stretches of posteriors, the newest replacing the oldest.

    `stretches` (NUM_PHONES, STRETCHES, LONGEST_SLOTS, NUM_PHONES) half precision; `slots` (NUM_PHONES, STRETCHES)
    counts the valid ones of each stretch, 0 where nothing is kept yet; `added` (NUM_PHONES,) counts all ever added.
    """

    def __init__(self) -> None:
        self.stretches = np.zeros((NUM_PHONES, STRETCHES, LONGEST_SLOTS, NUM_PHONES), np.float16)
        self.slots = np.zeros((NUM_PHONES, STRETCHES), np.int64)
        self.added = np.zeros(NUM_PHONES, np.int64)

    def add(self, posteriors: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Keep the stretches of one batch: posteriors (B, S, NUM_PHONES) by slot, labels (B, S), 0 unknown."""
        for row, row_labels in zip(posteriors, labels, strict=True):
            edges = np.flatnonzero(np.diff(row_labels, prepend=-1, append=-1))
            for start, stop in itertools.pairwise(edges.tolist()):
                phone = int(row_labels[start])
                if phone == 0:
                    continue
                place = self.added[phone] % STRETCHES
                kept = min(stop - start, LONGEST_SLOTS)
                self.stretches[phone, place, :kept] = row[start : start + kept]
                self.slots[phone, place] = kept
                self.added[phone] += 1

    def speak(self, phones: list[int], rng: np.random.Generator, clarity: float = 0.0) -> NDArray[np.float32]:
        """Posteriors (S, NUM_PHONES) of a phone sequence; every phone must have been added before.

        `clarity` mixes them with certainty about the right phone: 0 is as heard, 1 is without any doubt.
        """
        numbers = np.asarray(phones)
        places = rng.integers(0, np.minimum(self.added[numbers], STRETCHES))
        valid = np.arange(LONGEST_SLOTS) < self.slots[numbers, places][:, None]
        spoken: NDArray[np.float32] = self.stretches[numbers, places][valid] * np.float32(1.0 - clarity)
        spoken[np.arange(len(spoken)), numbers.repeat(self.slots[numbers, places])] += np.float32(clarity)
        return spoken

    def is_ready(self) -> bool:
        """Whether every phone can be spoken."""
        return bool((self.added[1:] > 0).all())

    def state_dict(self) -> dict[str, Tensor]:
        """The bank as tensors, for a checkpoint."""
        return {name: torch.from_numpy(value.copy()) for name, value in vars(self).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value.numpy().copy())


class TextSpeaker:
    """Makes text batches from sentences, a dictionary and a bank."""

    def __init__(
        self, config: TextConfig, sentences: Sentences, tokenizer: Tokenizer, slots_per_frame: int
    ) -> None:
        self.config = config
        self.sentences = sentences
        self.tokenizer = tokenizer
        self.slots_per_frame = slots_per_frame
        self.lexicon = Lexicon()
        self.bank = PosteriorBank()

    def batch(self, seed: tuple[int, ...], clarity: float = 1.0) -> TextBatch:
        """One batch of `config.rows` rows, at this share of `config.clarity`; seed and bank decide all of it."""
        rng = np.random.default_rng(seed)
        spoken = [self._row(rng, clarity) for _ in range(self.config.rows)]
        frames = self.config.frames
        slots = frames * self.slots_per_frame
        posteriors = np.zeros((len(spoken), slots, NUM_PHONES), np.float32)
        lengths = np.zeros(len(spoken), np.int64)
        widest = max(len(tokens) for _, tokens, _ in spoken)
        targets = np.zeros((len(spoken), -(-widest // 16) * 16), np.int64)
        places = np.zeros_like(targets)
        for row, (sound, tokens, ends) in enumerate(spoken):
            kept = sound[:slots]
            posteriors[row, : len(kept)] = kept
            lengths[row] = -(-len(kept) // self.slots_per_frame)
            targets[row, : len(tokens)] = tokens
            places[row, : len(tokens)] = _rising(ends // self.slots_per_frame, int(lengths[row]))
        return TextBatch(
            torch.from_numpy(posteriors.reshape(len(spoken), frames, self.slots_per_frame, NUM_PHONES)),
            torch.from_numpy(lengths),
            torch.from_numpy(targets),
            torch.tensor([len(tokens) for _, tokens, _ in spoken]),
            torch.from_numpy(places),
        )

    def _row(
        self, rng: np.random.Generator, clarity: float
    ) -> tuple[NDArray[np.float32], list[int], NDArray[np.int64]]:
        """Consecutive words from a random place that together last a random time, at most `frames`.

        Returns the posteriors (S, NUM_PHONES), the tokens, and the slot in which each token ends.
        """
        clarity *= float(rng.uniform(*self.config.clarity))
        longest = int(self.config.frames * self.slots_per_frame * rng.uniform(0.5, 1.0))
        sounds = [self.bank.speak([_SILENCE_ID], rng, clarity)]
        tokens: list[int] = []
        ends: list[float] = []
        total = len(sounds[0])
        for word in self.sentences.words_from(int(rng.integers(len(self.sentences)))):
            phones = self.lexicon.pronounce(word, rng)
            if phones is None:
                if tokens:
                    break
                continue  # begin after the word that nobody can say
            sound = self.bank.speak(phones, rng, clarity)
            if tokens and total + len(sound) > longest:
                break
            pieces = self.tokenizer.encode(word)
            letters = np.cumsum([len(self.tokenizer.piece(piece).lstrip(WORD_START)) for piece in pieces])
            ends.extend(total + len(sound) * letters / letters[-1] - 1)
            tokens.extend(pieces)
            sounds.append(sound)
            total += len(sound)
            if rng.random() < PAUSE_PROBABILITY:
                sounds.append(self.bank.speak([_SILENCE_ID], rng, clarity))
                total += len(sounds[-1])
        return np.concatenate(sounds), tokens, np.asarray(ends).clip(0).astype(np.int64)


def _rising(places: NDArray[np.int64], frames: int) -> NDArray[np.int64]:
    """Push frames apart until each is later than the one before, and back from the end."""
    steps = np.arange(len(places))
    later = np.maximum.accumulate(places - steps) + steps
    return np.minimum(later, frames - len(places) + steps).clip(0)
