"""When the speaker has finished: rules over the silence at the end, and over the utterance's length.

The rules are those of Kaldi's online endpointing (online2/online-endpoint.h, Povey 2014), less its cost of a final
state, which a CTC search does not have: an utterance ends as soon as any rule holds, and a rule holds if

    silence at the end >= trailing_silence   and   length >= utterance_length   and   (speech, or it needs none)

Silence is what a voice detector hears as such. Words that the search found count as speech, too, and none may lie in
the last `word_gap` seconds: what the detector takes for silence, but the model for a word, is not cut.

All times are counted in samples and frames of the stream, never in calls, so the pieces in which audio comes change
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from leanformer.errors import ConfigError
from leanformer.runtime.voice import SileroVoice, VoiceDetector


@dataclass(frozen=True, slots=True)
class Rule:
    """A way for an utterance to end; times in seconds."""

    name: str
    trailing_silence: float
    needs_speech: bool = True
    utterance_length: float = 0.0


AFTER_SPEECH = Rule("pause", trailing_silence=0.7)
AFTER_LONG_SPEECH = Rule("short pause", trailing_silence=0.4, utterance_length=10.0)
WITHOUT_SPEECH = Rule("silence", trailing_silence=5.0, needs_speech=False)


@dataclass(frozen=True, slots=True)
class Endpointing:
    """How a stream finds the ends of utterances. After each, the model and the search begin anew.

    Attributes:
        rules: an utterance ends when one of them holds. The first that does is named by the event.
        longest: seconds after which a segment ends between two words though nobody pauses. The model goes on, since
            to begin anew within speech would cost a word.
        threshold: the probability of speech from which somebody speaks ...
        release: ... and below which nobody does any more.
        padding: seconds of what was before the voice that an utterance begins with.
        word_gap: seconds without a token before a cut.
        voice: makes the voice detector of a stream.

    Raises:
        ConfigError: no rules, or a value that is none.
    """

    rules: tuple[Rule, ...] = (AFTER_SPEECH, AFTER_LONG_SPEECH, WITHOUT_SPEECH)
    longest: float = 20.0
    threshold: float = 0.5
    release: float = 0.35
    padding: float = 0.4
    word_gap: float = 0.3
    voice: Callable[[], VoiceDetector] = SileroVoice

    def __post_init__(self) -> None:
        for rule in self.rules:
            # Shorter than this, and a stop consonant is a pause.
            _at_least(0.1, rule.trailing_silence, f"trailing_silence of rule {rule.name!r}")
            _at_least(0.0, rule.utterance_length, f"utterance_length of rule {rule.name!r}")
        _at_least(1.0, self.longest, "longest")
        _at_least(0.0, self.padding, "padding")
        _at_least(0.0, self.word_gap, "word_gap")
        if not self.rules:
            raise ConfigError("endpointing without rules: give at least one, or no endpointing")
        if not 0 < self.release <= self.threshold < 1:
            raise ConfigError(
                f"endpointing: release = {self.release:g} and threshold = {self.threshold:g}; expected "
                "0 < release <= threshold < 1"
            )


def _at_least(least: float, value: float, name: str) -> None:
    if not value >= least:
        raise ConfigError(f"endpointing: {name} is {value:g} s; it must be at least {least:g}")


class Endpointer:
    """Where one stream stands between speech and silence. Times are seconds since the stream's beginning."""

    def __init__(self, how: Endpointing) -> None:
        self._how = how
        self._speaking = False
        self._start = 0.0
        self._voice_end: float | None = None
        self._last_word: float | None = None

    @property
    def waiting(self) -> bool:
        """Whether nothing was heard in this utterance yet."""
        return self._voice_end is None and self._last_word is None

    @property
    def speech_end(self) -> float:
        """When something was last heard in this utterance; its start, if nothing was."""
        if self._voice_end is not None:
            return self._voice_end
        return self._start if self._last_word is None else self._last_word

    def hear(self, voice: float, end: float) -> bool:
        """Take the probability of speech in the window that ended at `end`; True if a voice begins with it."""
        before, level = self._speaking, self._how.release if self._speaking else self._how.threshold
        self._speaking = voice >= level
        if self._speaking:
            self._voice_end = end
        return self._speaking and not before

    def word(self, end: float) -> None:
        """Say that the search found a token that ends at `end`."""
        self._last_word = end

    def rule(self, now: float) -> Rule | None:
        """The rule by which the utterance ends `now`, if one does."""
        if self._last_word is not None and now - self._last_word < self._how.word_gap - 1e-9:
            return None
        silence, length = now - self.speech_end, now - self._start
        for rule in self._how.rules:
            fits = length >= rule.utterance_length and (not rule.needs_speech or not self.waiting)
            if fits and silence >= rule.trailing_silence:
                return rule
        return None

    def begin(self, start: float) -> None:
        """Begin an utterance at `start`. A voice that is heard already, is heard in it."""
        self._start = start
        self._last_word = None
        if not self._speaking:
            self._voice_end = None
