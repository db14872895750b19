"""An evaluation as a person should see it on a terminal, or in a log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from leanformer.evaluate.report import Report, Sample, Score


def tables(report: Report, worst: int) -> Iterator[RenderableType]:
    """What a person should see: the figures, and the `worst` utterances, both lines one above the other."""
    yield _figures(report)
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
