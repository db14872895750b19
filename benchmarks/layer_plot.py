"""Pictures of benchmarks/layer_consistency: what each depth knows and hears, and how alike layers are."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from layer_finetuning import Heard
from layer_report import Findings
from paired import Counted

from leanformer.analysis.consistency import Consistency
from leanformer.analysis.plot import plot as plot_alike
from leanformer.profile.plot import figure_of_matplotlib, save

Curves = dict[str, dict[int, Counted]]
"""By row and depth."""


def plot_depths(found: Findings, seed: int, path: Path) -> None:
    """Curves over the depth: phone accuracy, and the word error rate for each amount of labelled speech, of one seed.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ConfigError: the file cannot be written, or its format is not known.
    """
    names = [row["name"] for row in found.analyses if row["seed"] == seed]
    known = {
        name: {depth: one.complement for depth, one in found.phones(name, seed).items()} for name in names
    }
    panels = {"phone accuracy of a linear probe, %": known}
    for labels, trained_seed in found.trained:
        if trained_seed == seed:
            panels[f"WER with labelled speech: {labels}, %"] = _errors(found.heard, labels, seed)
    figure = figure_of_matplotlib()(figsize=(5.0 * len(panels), 4.2), layout="constrained")
    (axes,) = figure.subplots(1, len(panels), squeeze=False)
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        _draw(axis, curves)
        axis.set_title(title, fontsize="small")
        axis.set_xlabel("layers run")
    axes[0].legend(fontsize="x-small")
    save(figure, path)


def _errors(heard: list[Heard], labels: str, seed: int) -> Curves:
    curves: Curves = {}
    for one in heard:
        if (one.labels, one.seed) == (labels, seed):
            curves.setdefault(one.row, {})[one.depth] = one.wer
    return curves


def _draw(axis: Any, curves: Curves) -> None:
    for name, by_depth in curves.items():
        depths = sorted(by_depth)
        (line,) = axis.plot(depths, [by_depth[depth].rate for depth in depths], marker=".", label=name)
        ends = [by_depth[depth].interval or (by_depth[depth].rate,) * 2 for depth in depths]
        axis.fill_between(depths, *zip(*ends, strict=True), alpha=0.15, color=line.get_color(), linewidth=0)
    axis.grid(alpha=0.3)


def plot_consistency(found: Findings, seed: int, path: Path) -> None:
    """Heat maps of how alike the layers of each encoder are, of one seed; errors as of `plot_depths`."""
    names = [field.name for field in fields(Consistency)]
    alike = {
        row["name"]: Consistency(**{name: row["consistency"][name] for name in names})
        for row in found.analyses
        if row["seed"] == seed
    }
    plot_alike(alike, path)
