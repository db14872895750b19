"""A reliability diagram: how many words of a confidence are right, against that confidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from leanformer.evaluate.reliability import Reliability
from leanformer.profile.plot import figure_of_matplotlib, save


def plot(found: Mapping[str, Reliability], path: Path) -> None:
    """Draw one line for each name into a file, whose ending says the format; a bin's dot grows with its words.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ConfigError: the file cannot be written, or its format is not known.
    """
    figure = figure_of_matplotlib()(figsize=(5.2, 5.0), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    for name, one in found.items():
        bins = [found for found in one.bins if found.words]
        places = [(found.confidence, found.right) for found in bins]
        label = name if one.ece is None else f"{name}: {one.words} words, ECE {one.ece:.3f}"
        (line,) = axis.plot(*zip(*places, strict=True) if places else ([], []), label=label)
        sizes = [200 * found.words / one.words for found in bins]
        axis.scatter(*zip(*places, strict=True) if places else ([], []), s=sizes, color=line.get_color())
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.set_aspect("equal")
    axis.set_xlabel("confidence")
    axis.set_ylabel("share of words that are right")
    axis.legend(fontsize="x-small", loc="upper left")
    save(figure, path)
