"""`leanformer presets`: the ready-made models, with what they cost."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter

from leanformer.cli.outcome import OK

_CHUNK_MS, _LEFT_CONTEXT = 640, 64
_FIGURES = ("parameters", "weight_bytes", "macs_per_second", "state_bytes", "energy_mj_per_second")
_WHEN = ("steps_per_second", "latency_frames", "delay_ms")


def presets(*, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """List the presets with their size and cost, in chunks of 640 ms; `leanformer profile` tells more.

    Of a cascade, figures of the first and the second pass stand beside each other; energy is that of both.

    Args:
        json: Print the list as JSON.
    """
    rows = [_row(name) for name in _names()]
    if json:
        print(json_format.dumps(rows, indent=2))
        return OK
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("preset", no_wrap=True)
    for heading in ("M", "int8 MB", "M MACs/s", "state kB", "mJ/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what it is")
    for row in rows:
        table.add_row(
            row["name"],
            _each(row, lambda one: f"{one['parameters'] / 1e6:.2f}"),
            _each(row, lambda one: f"{one['weight_bytes']['int8'] / 1e6:.2f}"),
            _each(row, lambda one: f"{one['macs_per_second'] / 1e6:,.0f}"),
            _each(row, lambda one: f"{one['state_bytes'] / 1e3:,.0f}"),
            f"{row['energy_mj_per_second']:.3f}",
            row["summary"],
            end_section=row["size"] == "paper",
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)
    return OK


def _names() -> tuple[str, ...]:
    from leanformer.presets import names

    return names()


def _each(row: dict[str, Any], show: Callable[[dict[str, Any]], str]) -> str:
    return " + ".join(show(one) for one in row["passes"])


def _row(name: str) -> dict[str, Any]:
    from leanformer.presets import preset
    from leanformer.profile.energy import EnergyModel
    from leanformer.profile.passes import passes_of
    from leanformer.profile.profile import Profile
    from leanformer.profile.report import to_dict

    found, prices = preset(name), EnergyModel()
    passes = passes_of(found.config, _CHUNK_MS, _LEFT_CONTEXT, prices)
    values = to_dict(Profile(name, _CHUNK_MS, _LEFT_CONTEXT, passes, prices))
    return {
        "name": name,
        "summary": found.summary,
        "size": found.size,
        "model_dim": found.config.encoder.model_dim,
        "depth": found.config.encoder.depth,
        **{key: values[key] for key in _FIGURES},
        "chunk_ms": _CHUNK_MS,
        "left_context_frames": _LEFT_CONTEXT,
        "passes": [{key: one[key] for key in ("name", *_FIGURES, *_WHEN)} for one in values["passes"]],
    }
