"""A profile as a picture: what each component costs, as shares, and the time a chunk takes in the first pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leanformer.errors import ConfigError, MissingExtraError
from leanformer.profile.count import PRECISIONS
from leanformer.profile.profile import Profile
from leanformer.profile.report import SHIPPED, to_dict

_FIGURES = {
    "weights, int8 MB": lambda one: one["weight_bytes"][SHIPPED] / 1e6,
    "MACs, M a second": lambda one: one["macs_per_second"] / 1e6,
    "moved, MB a second": lambda one: one["traffic_bytes_per_second"] / 1e6,
    "modelled energy, mJ a second": lambda one: one["energy_mj_per_second"],
}


def plot(profiles: Sequence[Profile], path: Path) -> None:
    """Draw profiles beside one another into a file, whose ending says the format (.png, .svg, .pdf).

    Raises:
        MissingExtraError: matplotlib is not installed.
        ConfigError: the ending is none that it knows, or the file cannot be written.
    """
    figure_class = figure_of_matplotlib()
    measured = all(one.first.measured is not None for one in profiles)
    figure = figure_class(figsize=(3.2 * (len(_FIGURES) + measured), 4.0), layout="constrained")
    axes = figure.subplots(1, len(_FIGURES) + measured)
    values = [to_dict(profile) for profile in profiles]
    for axis, (title, pick) in zip(axes, _FIGURES.items(), strict=False):
        _stack(axis, values, title, pick)
    axes[0].legend(fontsize="x-small")
    if measured:
        _latencies(axes[-1], values)
    save(figure, path)


def figure_of_matplotlib() -> Any:
    """Matplotlib's Figure, which needs no display (MissingExtraError if it is not installed)."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "plot") from None
    return Figure


def save(figure: Any, path: Path) -> None:
    """Write a figure (ConfigError if that fails)."""
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: cannot write the picture ({reason})") from None


def _stack(axis: Any, values: Sequence[dict[str, Any]], title: str, pick: Any) -> None:
    names = list(dict.fromkeys(name for one in values for name in one["components"]))
    places = range(len(values))
    bottom = [0.0] * len(values)
    for name in names:
        heights = [pick(one["components"][name]) if name in one["components"] else 0.0 for one in values]
        axis.bar(places, heights, bottom=bottom, label=name.replace("_", " "), width=0.6)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    _name(axis, values, title)


def _latencies(axis: Any, values: Sequence[dict[str, Any]]) -> None:
    for shift, kind in zip((-0.2, 0.2), PRECISIONS, strict=True):
        places = [place + shift for place in range(len(values))]
        p50 = [one["latency_ms"][kind]["p50"] for one in values]
        p95 = [one["latency_ms"][kind]["p95"] for one in values]
        axis.bar(places, p50, width=0.35, label=f"{kind}, p50")
        axis.scatter(places, p95, marker="_", color="black")
    axis.legend(fontsize="x-small")
    _name(axis, values, "ms a chunk (dash: p95)")


def _name(axis: Any, values: Sequence[dict[str, Any]], title: str) -> None:
    axis.set_title(title, fontsize="small")
    axis.set_xticks(range(len(values)), [one["name"] for one in values], rotation=20, fontsize="x-small")
