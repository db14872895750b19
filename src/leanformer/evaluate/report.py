"""What an evaluation found: per corpus and in total, for a program (JSON) and for a person (tables)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from leanformer.evaluate.evaluate import Failed, Outcome, Scored
from leanformer.evaluate.interval import bootstrap_interval, resampling_units
from leanformer.evaluate.latency import Measured
from leanformer.evaluate.latency_score import Latency
from leanformer.evaluate.reliability import Reliability
from leanformer.evaluate.time_errors import TimeErrors
from leanformer.evaluate.wer import total
from leanformer.evaluate.word_ends import Spans

WORST = 20
_IF_MEASURED = ("latency", "times", "confidence")


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
    speakers: str = "all"


@dataclass(frozen=True, slots=True)
class Measures:
    """What is to be summed up beside errors and speed.

    `latencies` has the emission latency of each clip by its name, `spans` when the words of each were spoken.
    """

    latencies: Mapping[str, Measured] | None = None
    spans: Spans | None = None
    confidence: bool = False


NOTHING_MORE = Measures()


@dataclass(frozen=True, slots=True)
class Score:
    """The figures of one corpus, or of all.

    `wer` and `cer` are ratios (0.25 = 25 %), None if no clip could be scored; `wer_interval` holds the 95 %
    bootstrap interval over speakers or utterances (`interval_over`), None for fewer than two of them. `rtf`
    is `processing_seconds`, summed over the clips, by `audio_seconds`. `failed` clips are in no other figure.
    `latency`, `times` and `confidence` are None where they were not measured.
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
    times: TimeErrors | None = None
    confidence: Reliability | None = None

    @classmethod
    def of(cls, scored: Sequence[Scored], failed: int, more: Measures = NOTHING_MORE) -> Score:
        """Sum up some clips."""
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
            latency=None
            if more.latencies is None
            else Latency.of(more.latencies[one.clip.name] for one in scored),
            times=None if more.spans is None else TimeErrors.of(scored, more.spans),
            confidence=Reliability.of(scored) if more.confidence else None,
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

        The scores of corpora and total have no keys for what was not measured.
        """
        values = asdict(self)
        for score in (values["total"], *values["corpora"].values()):
            for key in _IF_MEASURED:
                if score[key] is None:
                    del score[key]
        plain: dict[str, Any] = _rounded(values.pop("setup") | values)
        return plain


def make_report(
    setup: Setup,
    outcome: Outcome,
    skipped: Mapping[str, int],
    worst: int = WORST,
    more: Measures = NOTHING_MORE,
) -> Report:
    """Sum up an outcome by corpus and in total, with `more` measures if there are any."""
    results: list[Scored | Failed] = [*outcome.scored, *outcome.failed]
    names = sorted({one.clip.corpus for one in results})
    return Report(
        setup,
        {
            name: Score.of(
                [one for one in outcome.scored if one.clip.corpus == name],
                sum(one.clip.corpus == name for one in outcome.failed),
                more,
            )
            for name in names
        },
        Score.of(outcome.scored, len(outcome.failed), more),
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
