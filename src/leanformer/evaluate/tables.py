"""An evaluation as a person should see it on a terminal, or in a log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from leanformer.evaluate.latency_score import Percentiles
from leanformer.evaluate.reliability import Reliability
from leanformer.evaluate.report import Report, Sample, Score


def tables(report: Report, worst: int) -> Iterator[RenderableType]:
    """What a person should see: the figures, and the `worst` utterances, both lines one above the other."""
    yield _figures(report)
    if report.total.latency is not None:
        yield _latencies(report)
    if report.total.times is not None:
        yield _times(report)
    if report.total.confidence is not None:
        yield _confidence(report)
        yield _bins(report.total.confidence)
    if worst and report.worst:
        yield _examples(report.worst[:worst])


def _figures(report: Report) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("corpus", overflow="fold")
    for heading in ("clips", "words", "WER %", "95 %", "CER %", "sub", "del", "ins", "minutes", "RTF"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, score in report.corpora.items():
        table.add_row(escape(name), *_cells(score))
    if len(report.corpora) > 1:
        table.add_section()
        table.add_row("total", *_cells(report.total), style="bold")
    return table


def _cells(score: Score) -> tuple[str, ...]:
    interval = score.wer_interval
    return (
        str(score.utterances),
        str(score.words),
        _percent(score.wer),
        "-" if interval is None else f"{_percent(interval[0])}-{_percent(interval[1])}",
        _percent(score.cer),
        str(score.substitutions),
        str(score.deletions),
        str(score.insertions),
        f"{score.audio_seconds / 60:.1f}",
        "-" if score.rtf is None else f"{score.rtf:.3f}",
    )


def _latencies(report: Report) -> Table:
    """Two rows for each corpus: audio alone, and with the time of computing."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("ms after a word's end", overflow="fold")
    for heading in ("right words", "skipped", "", "first p50", "p95", "final p50", "p95"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, score in _by_name(report).items():
        if (found := score.latency) is not None:
            counts = (escape(name), str(found.words), str(found.skipped))
            table.add_row(*counts, "algorithmic", *_moments(found.first_ms, found.final_ms))
            processed = found.with_processing
            row = _moments(processed.first_ms, processed.final_ms)
            table.add_row("", "", "", "with processing", *row, end_section=True)
    return table


def _times(report: Report) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("ms off an alignment", overflow="fold")
    headings = ("start, median", "|p50|", "|p95|", "end, median", "|p50|", "|p95|")
    for heading in ("right words", "skipped", *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, score in _by_name(report).items():
        if (found := score.times) is not None:
            spreads = (found.start_ms, found.end_ms)
            values = (value for one in spreads for value in (one.median, one.p50, one.p95))
            cells = ("-" if value is None else f"{value:.0f}" for value in values)
            table.add_row(escape(name), str(found.words), str(found.skipped), *cells)
    return table


def _confidence(report: Report) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("confidence", overflow="fold")
    for heading in ("words heard", "right %", "calibration error (ECE)", "told (NCE)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, score in _by_name(report).items():
        if (found := score.confidence) is not None:
            figures = ("-" if value is None else f"{value:.3f}" for value in (found.ece, found.nce))
            table.add_row(escape(name), str(found.words), _percent(found.right), *figures)
    return table


def _bins(found: Reliability) -> Table:
    """What `total` is made of, bin by bin."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("confidence %", "words", "on average %", "right %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found.bins:
        of = f"{100 * one.low:.0f}-{100 * one.high:.0f}"
        table.add_row(of, str(one.words), _percent(one.confidence), _percent(one.right))
    return table


def _by_name(report: Report) -> dict[str, Score]:
    """The corpora, and their total if there are several."""
    total = {"total": report.total} if len(report.corpora) > 1 else {}
    return {**report.corpora, **total}


def _moments(*figures: Percentiles) -> tuple[str, ...]:
    values = (value for one in figures for value in (one.p50, one.p95))
    return tuple("-" if value is None else f"{value:.0f}" for value in values)


def _examples(worst: Sequence[Sample]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("errors", justify="right")
    table.add_column("worst utterances: said, heard", overflow="fold")
    for one in worst:
        table.add_row(str(one.errors), escape(one.reference))
        table.add_row("", f"[red]{escape(one.hypothesis or '(nothing)')}[/red]")
        table.add_row("", f"[dim]{escape(one.path)}[/dim]", end_section=True)
    return table


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.1f}"
