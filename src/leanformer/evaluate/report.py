"""What an evaluation found: per corpus and in total, for a program (JSON) and for a person (tables)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from leanformer.evaluate.evaluate import Failed, Outcome, Scored
from leanformer.evaluate.interval import bootstrap_interval, resampling_units
from leanformer.evaluate.latency import Measured
from leanformer.evaluate.latency_score import Latency
from leanformer.evaluate.wer import total

WORST = 20


@dataclass(frozen=True, slots=True)
class Setup:
    """What ran, and how: without this no figure means anything."""

    bundle: str
    precision: str
    chunk_ms: int
    threads: int
    jobs: int
    split: str
    leanformer_version: str
    search: str = "greedy"


@dataclass(frozen=True, slots=True)
class Score:
    """The figures of one corpus, or of all.

    `wer` and `cer` are ratios (0.25 = 25 %), None if no clip could be scored; `wer_interval` holds the 95 %
    bootstrap interval over speakers or utterances (`interval_over`), None for fewer than two of them. `rtf`
    is `processing_seconds`, summed over the clips, by `audio_seconds`. `failed` clips are in no other figure.
    `latency` is None where it was not measured.
    """

    wer: float | None
    cer: float | None
    wer_interval: tuple[float, float] | None
    interval_over: str
    substitutions: int
    deletions: int
    insertions: int
    utterances: int
    failed: int
    speakers: int
    words: int
    characters: int
    audio_seconds: float
    processing_seconds: float
    rtf: float | None
    latency: Latency | None = None

    @classmethod
    def of(
        cls, scored: Sequence[Scored], failed: int, measured: Mapping[str, Measured] | None = None
    ) -> Score:
        """Sum up some clips; `measured` has the emission latency of each by its name."""
        errors = total(one.errors for one in scored)
        # Two corpora may both have a speaker 1.
        speakers = [f"{one.clip.corpus}/{s}" if (s := one.clip.utterance.speaker) else "" for one in scored]
        units, by_speaker = resampling_units(speakers)
        interval = bootstrap_interval(
            [one.errors.word_errors for one in scored], [one.errors.words for one in scored], units
        )
        audio_seconds = sum(one.audio_seconds for one in scored)
        processing_seconds = sum(one.busy_seconds for one in scored)
        return cls(
            wer=errors.wer,
            cer=errors.cer,
            wer_interval=interval,
            interval_over="speakers" if by_speaker else "utterances",
            substitutions=errors.substitutions,
            deletions=errors.deletions,
            insertions=errors.insertions,
            utterances=len(scored),
            failed=failed,
            speakers=len(set(speakers) - {""}),
            words=errors.words,
            characters=errors.characters,
            audio_seconds=audio_seconds,
            processing_seconds=processing_seconds,
            rtf=processing_seconds / audio_seconds if audio_seconds else None,
            latency=None if measured is None else Latency.of(measured[one.clip.name] for one in scored),
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One utterance among the worst, normalised as it was compared."""

    utterance: str
    path: str
    errors: int
    wer: float
    reference: str
    hypothesis: str


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation. `worst` begins with the most word errors; `failures` maps clips to reasons."""

    setup: Setup
    corpora: Mapping[str, Score]
    total: Score
    worst: tuple[Sample, ...]
    skipped: Mapping[str, int]
    failures: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the setup's keys, then corpora, total, worst, skipped and failures.

        The scores of corpora and total have no key `latency` when that was not measured.
        """
        values = asdict(self)
        for score in (values["total"], *values["corpora"].values()):
            if score["latency"] is None:
                del score["latency"]
        plain: dict[str, Any] = _rounded(values.pop("setup") | values)
        return plain


def make_report(
    setup: Setup,
    outcome: Outcome,
    skipped: Mapping[str, int],
    worst: int = WORST,
    measured: Mapping[str, Measured] | None = None,
) -> Report:
    """Sum up an outcome by corpus and in total, with the emission latencies in `measured` if there are any."""
    results: list[Scored | Failed] = [*outcome.scored, *outcome.failed]
    names = sorted({one.clip.corpus for one in results})
    return Report(
        setup,
        {
            name: Score.of(
                [one for one in outcome.scored if one.clip.corpus == name],
                sum(one.clip.corpus == name for one in outcome.failed),
                measured,
            )
            for name in names
        },
        Score.of(outcome.scored, len(outcome.failed), measured),
        tuple(_worst(outcome.scored, worst)),
        dict(skipped),
        {one.clip.name: one.reason for one in outcome.failed},
    )


def _worst(scored: Sequence[Scored], count: int) -> Iterator[Sample]:
    wrong = [one for one in scored if one.errors.word_errors]
    wrong.sort(key=lambda one: (-one.errors.word_errors, one.errors.words, one.clip.name))
    for one in wrong[:count]:
        yield Sample(
            utterance=one.clip.name,
            path=str(one.clip.utterance.path),
            errors=one.errors.word_errors,
            wer=one.errors.wer or 0.0,
            reference=one.clip.utterance.text,
            hypothesis=one.hypothesis,
        )


def _rounded(value: Any) -> Any:
    """The same plain values, with fewer digits than anyone could trust left out."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value
