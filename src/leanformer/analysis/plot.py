"""Layer consistency as heat maps, one row for each model."""

from collections.abc import Mapping
from pathlib import Path

from leanformer.analysis.consistency import Consistency
from leanformer.profile.plot import figure_of_matplotlib, save

_PANELS = (
    ("cka", "linear CKA", (0.0, 1.0), "viridis"),
    ("frechet", "Frechet distance / variance", (0.0, 2.0), "magma_r"),
)


def plot(measured: Mapping[str, Consistency], path: Path) -> None:
    """Draw into a file, whose ending says the format; models by name. Distances of 2 and more look alike.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ConfigError: the file cannot be written, or its format is not known.
    """
    size = (4.6 * len(_PANELS), 3.9 * len(measured))
    figure = figure_of_matplotlib()(figsize=size, layout="constrained")
    axes = figure.subplots(len(measured), len(_PANELS), squeeze=False)
    for row, (name, one) in zip(axes, measured.items(), strict=True):
        for axis, (key, title, (low, high), colours) in zip(row, _PANELS, strict=True):
            matrix = getattr(one, key)
            edges = (0.5, len(matrix) + 0.5, 0.5, len(matrix) + 0.5)
            image = axis.imshow(matrix, origin="lower", extent=edges, vmin=low, vmax=high, cmap=colours)
            figure.colorbar(image, ax=axis, shrink=0.85)
            axis.set_title(f"{name}: {title}", fontsize="small")
            axis.set_xlabel("layer")
            axis.set_ylabel("layer")
            axis.set_xticks(range(1, len(matrix) + 1))
            axis.set_yticks(range(1, len(matrix) + 1))
    save(figure, path)
