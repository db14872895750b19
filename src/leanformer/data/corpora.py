"""Corpora of four layouts, joined into one lhotse CutSet.

A layout is recognised by what lies in the folder (`layouts/`); a folder that holds corpora folders is read
as all of them. Each cut has one supervision with the transcript, whose custom fields `corpus` and `split`
say where it came from. A cut's id is "corpus/utterance".
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from leanformer.data.layouts.find import find_corpora
from leanformer.data.layouts.selection import ALL, in_split
from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import DataError

SAMPLE_RATE = 16000
_EXAMPLES = 3
_LOG = logging.getLogger(__name__)

Normalize = Callable[[str], str]
Unspellable = Callable[[str], set[str]]


@dataclass(frozen=True)
class CorpusReport:
    """What was read and what was skipped, in utterances; `examples` names the first few of the skipped."""

    used: int = 0
    seconds: float = 0.0
    empty_text: int = 0
    unspellable: int = 0
    missing_audio: int = 0
    duplicate_id: int = 0
    unspellable_characters: str = ""
    examples: tuple[str, ...] = ()

    @property
    def skipped(self) -> int:
        """Utterances left out, for whatever reason."""
        return self.empty_text + self.unspellable + self.missing_audio + self.duplicate_id

    def __str__(self) -> str:
        """One line for a person."""
        reasons = {
            "with an empty transcript": self.empty_text,
            f"with characters that cannot be spelled ({self.unspellable_characters})": self.unspellable,
            "without readable audio": self.missing_audio,
            "with an id that was there before": self.duplicate_id,
        }
        told = f"{self.used} utterances, {self.seconds / 3600:.2f} h"
        if self.skipped:
            listed = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
            told += f"; skipped {listed}, such as {', '.join(self.examples)}"
        return told


def load_corpus(
    path: str | Path,
    split: str | None = None,
    *,
    exclude: Sequence[str] = (),
    normalize: Normalize | None = None,
    unspellable: Unspellable | None = None,
) -> CutSet:
    """Return the cuts of `read_corpus` alone; what was skipped goes to the log."""
    cuts, report = read_corpus(path, split, exclude=exclude, normalize=normalize, unspellable=unspellable)
    _LOG.log(logging.WARNING if report.skipped else logging.INFO, "%s, split %s: %s", path, split, report)
    return cuts


def read_corpus(
    path: str | Path,
    split: str | None = None,
    *,
    exclude: Sequence[str] = (),
    normalize: Normalize | None = None,
    unspellable: Unspellable | None = None,
    with_text: bool = True,
) -> tuple[CutSet, CorpusReport]:
    """Read one corpus, or all corpora of a folder.

    Args:
        path: a corpus, a JSONL manifest, or a folder of corpora.
        split: only this split, as `in_split` understands it; None or "all" reads everything.
        exclude: names of corpora folders to leave out.
        normalize: applied to each transcript.
        unspellable: gives the characters of a normalised transcript that the tokenizer lacks.
        with_text: whether an utterance needs a transcript; without, any folder of recordings is a corpus, too.

    Utterances without text or audio, or that cannot be spelled, are skipped and counted.
    Durations come from the layout where it states them, since opening every file is slow; so they are good to
    its rounding only, and such a cut claims 16 kHz whatever its file has.

    Raises DataError if nothing is left or no layout fits.
    """
    sieve = _Sieve(normalize or str.strip, unspellable or (lambda text: set()), with_text)
    cuts: list[MonoCut] = []
    splits: set[str] = set()
    for corpus in find_corpora(Path(path), exclude, with_text):
        for utterance in corpus.read():
            splits.add(utterance.split)
            if in_split(utterance.split, split):
                cuts.extend(sieve.sift(utterance, corpus.name))
    if not cuts:
        seen = ", ".join(sorted(filter(None, splits))) or "none, which counts as 'train'"
        raise DataError(
            f"{path}: nothing to use in split {split!r} (splits found: {seen}); {sieve.report}. "
            f"Name another split, or {ALL!r}"
        )
    return CutSet.from_cuts(cuts), sieve.report


class _Sieve:
    """Turns utterances into cuts, and counts those it holds back."""

    def __init__(self, normalize: Normalize, unspellable: Unspellable, with_text: bool) -> None:
        self._normalize, self._unspellable, self._with_text = normalize, unspellable, with_text
        self._ids: set[str] = set()
        self._counts: dict[str, int] = {}
        self._seconds = 0.0
        self._strange: set[str] = set()
        self._examples: list[str] = []

    @property
    def report(self) -> CorpusReport:
        """What went through so far."""
        return CorpusReport(
            **self._counts,
            seconds=self._seconds,
            unspellable_characters="".join(sorted(self._strange)),
            examples=tuple(self._examples),
        )

    def sift(self, utterance: Utterance, corpus: str) -> list[MonoCut]:
        """Return the cut of this utterance in a list, or an empty list."""
        name = f"{corpus}/{utterance.id}"
        utterance = replace(utterance, text=self._normalize(utterance.text))
        strange = self._unspellable(utterance.text)
        self._strange |= strange
        if self._with_text and not utterance.text:
            return self._skip("empty_text", name)
        if strange:
            return self._skip("unspellable", name)
        if name in self._ids:
            return self._skip("duplicate_id", name)
        cut = _make_cut(utterance, name, corpus)
        if cut is None:
            return self._skip("missing_audio", name)
        self._ids.add(name)
        self._count("used")
        self._seconds += cut.duration
        return [cut]

    def _skip(self, reason: str, name: str) -> list[MonoCut]:
        self._count(reason)
        if len(self._examples) < _EXAMPLES:
            self._examples.append(name)
        return []

    def _count(self, what: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1


def _make_cut(utterance: Utterance, name: str, corpus: str) -> MonoCut | None:
    """Return the cut, or None if there is no such sound file or nothing in it."""
    recording = _recording(utterance, name)
    if recording is None:
        return None
    start = utterance.start or 0.0
    left = recording.duration - start
    duration = left if utterance.start is None or utterance.seconds is None else min(utterance.seconds, left)
    if duration <= 0:
        return None
    supervision = SupervisionSegment(
        id=name,
        recording_id=name,
        start=0.0,
        duration=duration,
        text=utterance.text,
        language="English",
        speaker=utterance.speaker,
        custom={"corpus": corpus, "split": utterance.split},
    )
    channel = utterance.channel or 0
    return MonoCut(name, start, duration, channel, [supervision], recording=recording)


def _recording(utterance: Utterance, name: str) -> Recording | None:
    """Return the recording; its file is asked only for what the layout does not know."""
    if not utterance.path.is_file():
        return None
    seconds, rate, channels = utterance.seconds, SAMPLE_RATE, 1
    if seconds is None or utterance.start is not None or utterance.channel is not None:
        try:
            info = soundfile.info(utterance.path)
        except soundfile.LibsndfileError:
            return None
        seconds, rate = info.duration, info.samplerate
        # Without a chosen channel all are mixed down, so to its readers the recording has one.
        channels = 1 if utterance.channel is None else info.channels
    samples = round(seconds * rate)
    source = AudioSource(type="file", channels=list(range(channels)), source=str(utterance.path))
    return Recording(name, [source], rate, samples, samples / rate) if samples > 0 else None
