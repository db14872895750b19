"""`leanformer evaluate --depth` with several depths: what each costs, and how well it hears."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from leanformer.cli.decoding import Decoding
from leanformer.cli.evaluate import Options, clips_of, load, report_failures, require_scored, setup_of, write
from leanformer.data.progress import progress_bar
from leanformer.evaluate.evaluate import evaluate
from leanformer.evaluate.report import WORST, Report, make_report
from leanformer.profile.costs import Cost, costs_at_depths

_WIDTH = 110


@dataclass(frozen=True)
class AtDepth:
    """What was found at one depth."""

    report: Report
    cost: Cost

    def to_dict(self) -> dict[str, Any]:
        """The report's values, and `step_ms_p50` and `energy_mj_per_second` of the first pass."""
        return {
            **self.report.to_dict(),
            "step_ms_p50": round(self.cost.step_ms, 4),
            "energy_mj_per_second": round(self.cost.energy_mj, 6),
        }


def evaluate_depths(bundle: str, options: Options, decoding: Decoding) -> int:
    """Evaluate a bundle at each of `options.depth`, on the same clips; the time of a step is measured in turns.

    Raises:
        ConfigError: the bundle does not run at one of the depths, which is found out before any work.
    """
    recognizers = {depth: load(bundle, options, decoding, depth) for depth in sorted(set(options.depth))}
    clips, skipped = clips_of(options)
    reports = {}
    for depth, recognizer in recognizers.items():
        with progress_bar(f"evaluating at depth {depth}") as progress:
            outcome = evaluate(recognizer, clips, jobs=options.jobs, progress=progress)
        require_scored(outcome)
        setup = setup_of(recognizer, options, decoding)
        reports[depth] = make_report(setup, outcome, skipped, max(WORST, options.worst))
    setup = next(iter(reports.values())).setup
    costs = costs_at_depths(bundle, tuple(reports), setup.precision, setup.chunk_ms)
    found = {depth: AtDepth(report, costs[depth]) for depth, report in reports.items()}
    _print(bundle, found)
    if options.json is not None:
        write({"depths": {str(depth): one.to_dict() for depth, one in found.items()}}, options.json)
    return report_failures(_failures(reports))


def _failures(reports: Mapping[int, Report]) -> dict[str, str]:
    """Why clips failed, by clip and depth."""
    return {
        f"{clip} at depth {depth}": reason
        for depth, one in reports.items()
        for clip, reason in one.failures.items()
    }


def _print(bundle: str, found: Mapping[int, AtDepth]) -> None:
    setup = next(iter(found.values())).report.setup
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    console.print(
        f"{bundle} {setup.precision}, chunks of {setup.chunk_ms} ms, split {setup.split}, {setup.search}",
        markup=False,
        soft_wrap=True,
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in (
        "depth",
        "clips",
        "words",
        "WER %",
        "95 %",
        "RTF",
        "ms a chunk, p50",
        "modelled energy, mJ/s",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for depth, one in found.items():
        table.add_row(str(depth), *_cells(one))
    console.print(table)


def _cells(one: AtDepth) -> Sequence[str]:
    score = one.report.total
    low, high = score.wer_interval or (None, None)
    return (
        str(score.utterances),
        str(score.words),
        _percent(score.wer),
        "-" if low is None else f"{_percent(low)}-{_percent(high)}",
        "-" if score.rtf is None else f"{score.rtf:.3f}",
        f"{one.cost.step_ms:.2f}",
        f"{one.cost.energy_mj:.3f}",
    )


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.1f}"
