"""Pictures of the study: word error rate against latency, size and energy, and what nothing undercuts in both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import environment  # noqa: F401 - before whatever needs more than Python
from study_report import ALL, MAIN_CHUNK, MAIN_PRECISION, STUCK, each, reading, state_of, title

from leanformer.profile.plot import figure_of_matplotlib, save

Values = dict[str, Any]
Point = tuple[float, float, str]
"""Cost, word error rate in %, and the name."""


def points(results: Values) -> dict[str, list[Point]]:
    """By title of an axis, the point of each variant that was read and has learnt something."""
    latency = (results["latency"] or {"rows": {}})["rows"]
    axes: dict[str, Callable[[str, Values, str], float | None]] = {
        f"ms for {results['chunk_ms']} ms of audio, {MAIN_PRECISION}": lambda name, row, variant: (
            latency.get(name, {}).get(variant, {}).get(MAIN_PRECISION)
        ),
        f"MB of weights, {MAIN_PRECISION}": lambda name, row, variant: (
            row["costs"][variant][f"bytes_{MAIN_PRECISION}"] / 1e6
        ),
        f"modelled energy, mJ/s, {MAIN_PRECISION}": lambda name, row, variant: row["costs"][variant][
            f"mj_per_second_{MAIN_PRECISION}"
        ],
    }
    found: dict[str, list[Point]] = {axis: [] for axis in axes}
    for name, row, variant in each(results):
        if state_of(row) != "read":
            continue
        rate = reading(row, variant, MAIN_CHUNK, MAIN_PRECISION)["corpora"][ALL]["wer"][0]
        for axis, cost_of in axes.items():
            cost = cost_of(name, row, variant)
            if cost is not None and rate < STUCK:
                found[axis].append((cost, rate, title(name, variant)))
    return found


def front(given: Sequence[Point]) -> list[Point]:
    """The points that no other equals or undercuts in both cost and errors, by rising cost."""
    kept: list[Point] = []
    for point in sorted(given):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    return kept


def plot(results: Values, path: Path) -> bool:
    """Draw the three fronts into one picture; False, and none, if no model has been read yet.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    found = {axis: some for axis, some in points(results).items() if some}
    if not found:
        return False
    figure = figure_of_matplotlib()(figsize=(6.0 * len(found), 5.5), layout="constrained")
    (axes,) = figure.subplots(1, len(found), squeeze=False, sharey=True)
    for axis, (told, some) in zip(axes, found.items(), strict=True):
        best = front(some)
        axis.plot([x for x, *_ in best], [y for _, y, _ in best], drawstyle="steps-post", color="tab:blue")
        axis.scatter([x for x, *_ in some], [y for _, y, _ in some], s=12, color="gray")
        axis.scatter([x for x, *_ in best], [y for _, y, _ in best], s=18, color="tab:blue", zorder=3)
        for x, y, name in some:
            axis.annotate(name, (x, y), xytext=(3, 3), textcoords="offset points", fontsize=6)
        axis.set_xlabel(told)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"WER on all dev corpora, %, {MAIN_CHUNK}")
    save(figure, path)
    return True
