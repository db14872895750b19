"""The page of the study, made of its JSON and of the notes, and of nothing else."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

STUCK = 95.0
"""From this word error rate on, in %, a model has learnt nothing that shows."""
ALL = "all"
MAIN_CHUNK, MAIN_PRECISION = "640 ms", "int8"
"""Of the reading that verdicts go by: what `export` makes by default."""
OPEN = "not done yet"
Values = dict[str, Any]


def read_notes(path: Path) -> dict[str, str]:
    """Free text by row; an absent file has none."""
    return dict(tomllib.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def page(results: Values, notes: dict[str, str], picture: str | None) -> str:
    """The whole page, in Markdown."""
    parts = [
        _head(results),
        *([f"![Word error rate against latency, size and modelled energy]({picture})"] if picture else []),
        "## Verdicts", _verdicts(results),
        "## What each model costs", _costs(results),
        *_papers(results, notes),
        "## All readings", _all_readings(results),
        *_curves(results),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def state_of(row: Values) -> str:
    """Where a row stands: "read", "diverged", "trained" or not done yet."""
    if row["readings"]:
        return "read"
    outcomes = {run["outcome"] for run in row["runs"].values()}
    return min(outcomes) if outcomes else OPEN  # one seed diverged: that is what there is to say


def verdict(row: Values, variant: str, is_base: bool = False) -> str:
    """What the figures say, by the rule that the page states."""
    state = state_of(row)
    if state == "diverged":
        steps = ", ".join(str(run["step"]) for run in row["runs"].values() if run["outcome"] == "diverged")
        return f"**diverged** at step {steps}: losses or gradients were no numbers any more"
    if state != "read":
        return OPEN if state == OPEN else "trained, not heard yet"
    found = reading(row, variant, MAIN_CHUNK, MAIN_PRECISION)["corpora"][ALL]
    if found["wer"][0] >= STUCK:
        return f"**did not learn**: {found['wer'][0]:.1f} % WER"
    return "the baseline" if is_base else _compared(found["gap"])


def _compared(gap: Sequence[float] | None) -> str:
    """What the difference from the baseline says, with its interval."""
    if gap is None:
        return "the baseline is not done yet"
    middle, low, high = gap
    if low > 0:
        return f"**loses {middle:.1f}** ({low:.1f} to {high:.1f})"
    if high < 0:
        return f"**gains {-middle:.1f}** ({-high:.1f} to {-low:.1f})"
    return f"no loss seen ({low:+.1f} to {high:+.1f})"


def reading(row: Values, variant: str, chunk: str, precision: str) -> Values:
    """One reading of a row that has been read."""
    wanted = (variant, chunk, precision)
    return next(one for one in row["readings"] if (one["variant"], one["chunk"], one["precision"]) == wanted)


def title(name: str, variant: str) -> str:
    """What a row's variant is called."""
    return f"{name}, {variant}" if variant else name


def each(results: Values) -> Iterator[tuple[str, Values, str]]:
    """All rows with their variants, further attempts right after the row that they are of."""
    rows = results["rows"]
    for name, row in rows.items():
        if not row["of"]:
            tries = [other for other, values in rows.items() if values["of"] == name]
            for one in (name, *tries):
                yield from ((one, rows[one], variant) for variant in rows[one]["variants"])


def _head(results: Values) -> str:
    rows = results["rows"]
    done = sum(state_of(row) in ("read", "diverged") for row in rows.values())
    sets = f", with `{' '.join(results['sets'])}` for all" if results["sets"] else ""
    seeds = ", ".join(map(str, results["seeds"]))
    return f"""\
# Study: the four papers' techniques under one protocol

Made by `benchmarks/study` from its JSON and its notes, which lie beside this page; no figure here is written by hand.
**{done} of {len(rows)} rows are done**; `benchmarks/study` goes on where it stopped.

All rows are of the class `{results["size"]}` and are trained by benchmarks/protocol.toml (`{results["protocol"]}`,
{results["max_steps"]} steps; seed {seeds}{sets}): same data, steps, tokenizer, augmentation and seeds, but for
what the row is about. Each is exported and heard on all dev clips by the runtime, greedily, in chunks of
{", ".join(results["chunks"])}, in {" and ".join(results["precisions"])}. "full" is a chunk longer than any clip, so
that attention sees the whole of it; a second pass keeps its own chunks and lookahead. WER is in %. Intervals are 95 %,
a bootstrap over speakers; a difference from `{results["base"]}` has an interval of its own, the same speakers drawn for
both. Several seeds are pooled: intervals tell about other speakers, not about other seeds.

The rule of the verdicts, by the WER on all dev corpora at {MAIN_CHUNK} in {MAIN_PRECISION}: at {STUCK:g} % or more, a
model "did not learn"; if the interval of the difference lies above 0, it "loses", below 0 it "gains", and if 0 is in
it, "no loss seen", which says as much as the interval is narrow. A run whose losses or gradients are no numbers any
more has "diverged"."""


def _verdicts(results: Values) -> str:
    lines = ["| row | claim | WER, all | from baseline | verdict |", "|---|---|---|---|---|"]
    for name, row, variant in each(results):
        rate, gap = "", ""
        if state_of(row) == "read":
            found = reading(row, variant, MAIN_CHUNK, MAIN_PRECISION)["corpora"][ALL]
            rate, gap = _rate(found["wer"]), _gap(found["gap"])
        told = verdict(row, variant, name == results["base"])
        of = f" (another try at {row['of']})" if row["of"] else ""
        lines.append(f"| {title(name, variant)}{of} | {row['claim']} | {rate} | {gap} | {told} |")
    return "\n".join(lines)


def _costs(results: Values) -> str:
    latency = results["latency"]
    chunk_ms = results["chunk_ms"]
    how = f"""\
Counted from the recipe as it runs (norms fused, two passes added up) in chunks of {chunk_ms} ms: parameters, bytes of
weights, state, multiply-accumulates, and energy by the model of [profile.md](profile.md). Training time is what passed
without pauses, on a machine that may have done other work. """
    how += "Latency has not been measured yet." if latency is None else (
        f"Latency: median of {latency['rounds']} chunks of {chunk_ms} ms, all rows in turns, ONNX Runtime "
        f"{latency['onnxruntime']}, one thread, {latency['processor']}.")  # fmt: skip
    lines = [
        "| row | parameters, M | MB int8 | MB fp32 | ms int8 | ms fp32 | mJ/s int8 | mJ/s fp32 | M MACs/s | state kB "
        "| steps | training min |",
        "|" + "---|" * 12,
    ]
    for name, row, variant in each(results):
        cost = row["costs"][variant]
        times = latency["rows"].get(name, {}).get(variant) if latency else None
        cells = [
            f"{cost['parameters'] / 1e6:.2f}",
            *(f"{cost[f'bytes_{kind}'] / 1e6:.2f}" for kind in ("int8", "fp32")),
            *("" if times is None else f"{times[kind]:.2f}" for kind in ("int8", "fp32")),
            *(f"{cost[f'mj_per_second_{kind}']:.3g}" for kind in ("int8", "fp32")),
            f"{cost['macs_per_second'] / 1e6:.1f}",
            f"{cost['state_bytes'] / 1e3:.0f}",
            *_training(row),
        ]
        lines.append(f"| {title(name, variant)} | {' | '.join(cells)} |")
    return f"{how}\n\n" + "\n".join(lines)


def _training(row: Values) -> tuple[str, str]:
    runs = list(row["runs"].values())
    steps = ", ".join(dict.fromkeys(str(run["step"]) for run in runs))
    if steps and row["start"]:
        steps += f" after {row['start']}"
    return steps, ", ".join(f"{run['seconds'] / 60:.0f}" for run in runs)


def _papers(results: Values, notes: dict[str, str]) -> Iterator[str]:
    """A section for each paper: its rows, what they change, what came out, and the notes."""
    rows = results["rows"]
    for paper in dict.fromkeys(row["paper"] for row in rows.values()):
        lines = []
        for name, row, variant in each(results):
            if row["paper"] != paper:
                continue
            if variant == row["variants"][0]:
                changes = f"`{' '.join(row['changes'])}`"
                begun = (
                    f", begun with the trained `{row['start']}`, its attention swapped"
                    if row["start"]
                    else ""
                )
                tried = f" Another try at `{row['of']}`." if row["of"] else ""
                lines.append(f"- **{name}**: {row['claim']}.{tried} Recipe: {changes}{begun}.")
                if note := notes.get(name, "").strip():
                    lines.append(f"  Note: {' '.join(note.split())}")
            told = f"{variant}: " if variant else ""
            lines.append(f"  - {told}{verdict(row, variant, name == results['base'])}")
        yield f"## {paper}"
        yield "\n".join(lines)


def _all_readings(results: Values) -> str:
    parts = []
    corpora = results["corpora"]
    for chunk in results["chunks"]:
        for precision in results["precisions"]:
            lines = [
                f"### {chunk}, {precision}",
                "",
                f"| row | {' | '.join(corpora)} |",
                "|" + "---|" * (len(corpora) + 1),
            ]
            for name, row, variant in each(results):
                if state_of(row) == "read":
                    found = reading(row, variant, chunk, precision)["corpora"]
                    cells = [_both(found.get(corpus)) for corpus in corpora]
                    lines.append(f"| {title(name, variant)} | {' | '.join(cells)} |")
            if len(lines) > 4:
                parts.append("\n".join(lines))
    told = "WER with its interval; after the semicolon, the difference from the baseline with its own."
    return "\n\n".join([told, *parts]) if parts else "None yet."


def _both(found: Values | None) -> str:
    if found is None:
        return ""
    return _rate(found["wer"]) if found["gap"] is None else f"{_rate(found['wer'])}; {_gap(found['gap'])}"


def _rate(wer: Sequence[float]) -> str:
    return f"{wer[0]:.1f} ({wer[1]:.1f}-{wer[2]:.1f})" if len(wer) == 3 else f"{wer[0]:.1f}"


def _gap(gap: Sequence[float] | None) -> str:
    return "" if gap is None else f"{gap[0]:+.1f} ({gap[1]:+.1f} to {gap[2]:+.1f})"


def _curves(results: Values) -> Iterator[str]:
    """How the controls that the papers say diverge went on: the curves of rows whose claim is that."""
    lines = []
    for name, row, _ in each(results):
        for seed, run in row["runs"].items() if "diverges" in row["claim"] else ():
            lines.append(
                f"**{name}**, seed {seed}: {run['outcome']}, {run['step']} of {run['of_steps']} steps."
            )
            for tag, points in run["curves"].items():
                told = ", ".join(
                    f"{step}: {'no number' if value is None else f'{value:g}'}" for step, value in points
                )
                lines.append(f"- {tag}: {told}")
            lines.append("")
    if lines:
        yield "## Curves of the controls"
        yield "By step, thinned out.\n\n" + "\n".join(lines).rstrip()
