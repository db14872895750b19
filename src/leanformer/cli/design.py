"""`leanformer design`: a budget becomes a recipe."""

from __future__ import annotations

import json as json_format
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from leanformer.cli.outcome import OK, UsageError
from leanformer.cli.outputs import replacing

if TYPE_CHECKING:
    from leanformer.design.run import Found
    from leanformer.design.search import Costed

_AtLeastOne = Parameter(validator=validators.Number(gte=1))
_Positive = Parameter(validator=validators.Number(gt=0))
_Flag = Parameter(negative=())
_ROWS = 15


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """The budget, and what to write."""

    max_mb: Annotated[float | None, _Positive] = None
    "Megabytes of int8 weights, at most."

    max_ms_per_chunk: Annotated[float | None, _Positive] = None
    "Milliseconds that a chunk may take in int8 on one thread of this machine."

    max_mj_per_second: Annotated[float | None, _Positive] = None
    "Modelled millijoules for a second of audio (see `leanformer profile`)."

    chunk_ms: Annotated[int, _AtLeastOne] = 640
    "Milliseconds of speech in a chunk."

    left_context: Annotated[int, _AtLeastOne] = 64
    "Encoder frames that attention looks back."

    energy: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=True)] = ()
    "NAME=VALUE pairs that replace constants of the energy model."

    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("design.toml")
    "The recipe to write."

    force: Annotated[bool, _Flag] = False
    "Replace a recipe that is there."

    json: Annotated[bool, _Flag] = False
    "Print the Pareto set as JSON."

    plot: Path | None = None
    "Draw the search space and the Pareto set into this file (.png, .svg or .pdf)."


def design(*, options: Options = Options()) -> int:
    """Find the model of most capacity within a budget, and write it as a recipe.

    Nothing is trained: designs are ranked by counts, by the energy model, and by a model of latency that is fitted to
    a few small models first (about a minute). The chosen one is measured. Capacity is the geometric mean of
    parameters and multiply-accumulates a frame; docs/design-search.md says what that can tell and what it cannot.
    """
    from leanformer.design.search import Budget

    budget = Budget(options.max_mb, options.max_ms_per_chunk, options.max_mj_per_second)
    if not budget.limits():
        raise UsageError("a budget is missing: give --max-mb, --max-ms-per-chunk or --max-mj-per-second")
    if options.output.exists() and not options.force:
        raise UsageError(f"{options.output}: exists already; add --force to replace it, or name another file")
    if options.plot is not None:
        from leanformer.profile.plot import figure_of_matplotlib

        figure_of_matplotlib()  # better now than after a minute's work
    from leanformer.cli.profile import energy_model
    from leanformer.design.run import recipe_text, search
    from leanformer.profile.graphs import say

    prices = energy_model(options.energy)
    found = search(budget, options.chunk_ms, options.left_context, prices, say)
    with replacing(options.output) as file:
        file.write(recipe_text(found, options.output.stem, budget, options.chunk_ms))
    if options.plot is not None:
        from leanformer.design.plot import plot

        plot(found, budget, options.plot)
    if options.json:
        print(json_format.dumps(_plain(found, options.output), indent=2))
    else:
        _print(found, options)
    return OK


def _row(one: Costed) -> dict[str, Any]:
    return {
        "design": str(one.design),
        "capacity": one.capacity,
        "parameters": one.counts.parameters,
        "macs_per_second": one.counts.macs_per_second,
        "int8_mb": one.mb,
        "modelled_ms_per_chunk": one.ms,
        "energy_mj_per_second": one.mj,
    }


def _plain(found: Found, recipe: Path) -> dict[str, Any]:
    return {
        "recipe": str(recipe),
        "chosen": {**_row(found.chosen), "latency_ms": {"int8": found.latency.to_dict()}},
        "pareto": [_row(one) for one in found.front],
        "searched": len(found.costed),
    }


def _print(found: Found, options: Options) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from leanformer.design.search import spread

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Pareto set within the budget, largest capacity first")
    for heading in ("capacity M", "M", "int8 MB", "ms (modelled)", "mJ/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in spread(found.front, _ROWS):
        table.add_row(
            str(one.design),
            f"{one.capacity / 1e6:.2f}",
            f"{one.counts.parameters / 1e6:.2f}",
            f"{one.mb:.2f}",
            f"{one.ms:.2f}",
            f"{one.mj:.3f}",
            style="bold" if one is found.chosen else None,
        )
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 130)
    console.print(table)
    if len(found.front) > _ROWS:
        console.print(f"{_ROWS} of {len(found.front)}, evenly spread; --json has all")
    console.print(
        f"{options.output}: {found.chosen.design}; measured {found.latency.p50:.2f} ms a chunk "
        f"(modelled {found.chosen.ms:.2f})",
        markup=False,
        soft_wrap=True,
    )
