"""From samples to tokens, through utterances: one for the whole stream, or one for each time somebody speaks.

samples -> filter bank -> frames -> utterance -> tokens
        -> voice detector -> rules -> where an utterance ends, and the next begins
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from leanformer.errors import ConfigError
from leanformer.features.online import OnlineFbank
from leanformer.features.spec import FeatureSpec
from leanformer.runtime.endpoint import Endpointer, Endpointing, Rule
from leanformer.runtime.events import Endpoint
from leanformer.runtime.session import FloatArray
from leanformer.runtime.steps import Steps
from leanformer.runtime.utterance import Utterance
from leanformer.runtime.words import Token

Found = list[Token] | Endpoint
"""Tokens that stay, each after those before it; or the end of the utterance that they belong to."""

Tell = Callable[[Found], None]
"""Hears of what is found, while the flow runs."""

Begin = Callable[[int], Utterance]
"""Makes an utterance that begins at a frame of features."""


class Flow(Protocol):
    """Takes a stream's samples at the model's rate, and tells what they bring about."""

    utterance: Utterance

    def hear(self, samples: FloatArray, tell: Tell) -> Steps[None]:
        """Take samples (S,); S may be 0."""
        ...

    def finish(self, tell: Tell) -> Steps[None]:
        """Say that no more samples follow."""
        ...


class Unbroken:
    """The whole stream is one utterance."""

    def __init__(self, begin: Begin, spec: FeatureSpec) -> None:
        self._fbank = OnlineFbank(spec)
        self.utterance = begin(0)

    def hear(self, samples: FloatArray, tell: Tell) -> Steps[None]:
        """Take samples (S,); S may be 0."""
        self._fbank.accept(samples)
        yield from self.utterance.push(self._fbank.pop(), tell)

    def finish(self, tell: Tell) -> Steps[None]:
        """Say that no more samples follow."""
        self._fbank.finish()
        yield from self.utterance.push(self._fbank.pop(), tell)
        tell((yield from self.utterance.finish()))


class Cut:
    """An utterance for each time somebody speaks.

    It ends when a rule holds. The next begins there, and hears the silence: words that the voice detector misses are
    found all the same. If no word is found until a voice is heard, it begins anew, `padding` before that voice, so
    that the model hears each utterance as it would a recording of its own.
    """

    def __init__(self, begin: Begin, spec: FeatureSpec, factor: int, how: Endpointing) -> None:
        """`factor` is the subsampling factor: utterances begin at multiples of it.

        Raises:
            ConfigError: a voice detector for another sample rate.
        """
        self._begin, self._factor, self._how = begin, factor, how
        self._shift = spec.shift_ms / 1000
        self._voice = how.voice()
        if self._voice.sample_rate != spec.sample_rate:
            raise ConfigError(
                f"endpointing: the voice detector hears {self._voice.sample_rate} Hz, but the model "
                f"{spec.sample_rate} Hz; use another detector, or no endpointing"
            )
        self._rate = spec.sample_rate
        self._window = np.zeros(self._voice.window, np.float32)
        self._held = self._samples = 0
        self._fbank = OnlineFbank(spec)
        # The frames that an utterance may begin with: the padding, a window, and what two roundings may take.
        keep = round((how.padding + self._voice.window / self._rate) / self._shift) + 2 * factor
        self._recent = np.zeros((keep, spec.num_mel_bins), np.float32)
        self._frames = 0
        self._endpointer = Endpointer(how)
        self._start = 0
        self.utterance = begin(0)

    def hear(self, samples: FloatArray, tell: Tell) -> Steps[None]:
        """Take samples (S,); S may be 0. Goes from window to window of the detector, and decides after each."""
        while len(samples):
            piece = samples[: len(self._window) - self._held]
            samples = samples[len(piece) :]
            self._window[self._held : self._held + len(piece)] = piece
            self._held += len(piece)
            yield from self._listen(piece, tell)
            if self._held == len(self._window):
                self._samples, self._held = self._samples + self._held, 0
                yield from self._decide(self._voice(self._window), self._samples / self._rate, tell)

    def finish(self, tell: Tell) -> Steps[None]:
        """Say that no more samples follow."""
        self._fbank.finish()
        yield from self._push(self._fbank.pop(), tell)
        tell((yield from self.utterance.finish()))

    def _listen(self, samples: FloatArray, tell: Tell) -> Steps[None]:
        self._fbank.accept(samples)
        frames = self._fbank.pop()
        self._frames += len(frames)
        self._recent = np.concatenate((self._recent, frames))[len(frames) :]
        yield from self._push(frames, tell)

    def _push(self, frames: FloatArray, tell: Tell) -> Steps[None]:
        def note_and_tell(tokens: list[Token]) -> None:
            self._note([*tokens, *self.utterance.tokens])
            tell(tokens)

        yield from self.utterance.push(frames, note_and_tell)

    def _note(self, tokens: list[Token]) -> None:
        if tokens:
            self._endpointer.word((tokens[-1].frame + 1) * self._factor * self._shift)

    def _decide(self, voice: float, now: float, tell: Tell) -> Steps[None]:
        waiting = self._endpointer.waiting
        if self._endpointer.hear(voice, now) and waiting:
            yield from self._at_voice(now, tell)
        if (rule := self._endpointer.rule(now)) is not None:
            yield from self._at_rule(rule, now, tell)

    def _at_voice(self, now: float, tell: Tell) -> Steps[None]:
        """Begin anew a little before the voice, unless there was a word that nobody has heard so far."""
        before = now - len(self._window) / self._rate - self._how.padding
        start = int(before / self._shift) // self._factor * self._factor
        if start <= self._start:
            return
        # States are values: what is left is read on a copy, and forgotten.
        if words := (yield from self.utterance.copy().finish(start)):
            self._note(words)
            return
        yield from self._begin_at(start, tell)

    def _at_rule(self, rule: Rule, now: float, tell: Tell) -> Steps[None]:
        """End the utterance, unless its last frames, which the model has not heard yet, hold a word."""
        end = self._frames // self._factor * self._factor
        over = self.utterance.copy()
        tokens = yield from over.finish(end)
        self._note(tokens)
        if self._endpointer.rule(now) is None:
            return
        tell(tokens)
        tell(Endpoint(round(now, 3), round(self._endpointer.speech_end, 3), rule.name))
        yield from self._begin_at(end, tell)

    def _begin_at(self, start: int, tell: Tell) -> Steps[None]:
        self._start, self.utterance = start, self._begin(start)
        self._endpointer.begin(start * self._shift)
        if count := self._frames - start:
            yield from self._push(self._recent[-count:], tell)
