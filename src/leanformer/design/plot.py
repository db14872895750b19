"""The search space and its Pareto set as a picture: capacity against each cost."""

from __future__ import annotations

from pathlib import Path

from leanformer.design.run import Found
from leanformer.design.search import Budget
from leanformer.profile.plot import figure_of_matplotlib, save

_COSTS = {"mb": "int8 weights, MB", "ms": "modelled ms a chunk", "mj": "modelled energy, mJ/s"}


def plot(found: Found, budget: Budget, path: Path) -> None:
    """Draw into a file, whose ending says the format.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ConfigError: the file cannot be written, or its format is not known.
    """
    figure = figure_of_matplotlib()(figsize=(13.0, 4.5), layout="constrained")
    limits = budget.limits()
    for axis, (name, title) in zip(figure.subplots(1, len(_COSTS), sharey=True), _COSTS.items(), strict=True):
        for costed, style in (
            (found.costed, {"s": 3, "color": "0.8", "label": "all designs"}),
            (found.front, {"s": 12, "label": "Pareto set within the budget"}),
            ([found.chosen], {"s": 60, "marker": "*", "color": "black", "label": "chosen"}),
        ):
            axis.scatter(
                [getattr(one, name) for one in costed], [one.capacity / 1e6 for one in costed], **style
            )
        if name in limits:
            axis.axvline(limits[name], color="0.4", linewidth=1, linestyle="--")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel(title)
        axis.grid(visible=True, alpha=0.2)
        axis.set_ylabel("capacity, M" if name == "mb" else "")
        if name == "mb":
            axis.legend(fontsize="x-small")
    save(figure, path)
