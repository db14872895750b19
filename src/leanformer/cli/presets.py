"""`leanformer presets`: the ready-made models, with what they cost."""

from __future__ import annotations

import json as json_format
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from leanformer.cli.outcome import OK

_CHUNK_MS, _LEFT_CONTEXT = 640, 64


def presets(*, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """List the presets with their size and cost, in chunks of 640 ms; `leanformer profile` tells more.

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
            f"{row['parameters'] / 1e6:.2f}",
            f"{row['weight_bytes']['int8'] / 1e6:.2f}",
            f"{row['macs_per_second'] / 1e6:,.0f}",
            f"{row['state_bytes'] / 1e3:,.0f}",
            f"{row['energy_mj_per_second']:.3f}",
            row["summary"],
            end_section=row["size"] == "paper",
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)
    return OK


def _names() -> tuple[str, ...]:
    from leanformer.presets import names

    return names()


def _row(name: str) -> dict[str, Any]:
    from leanformer.presets import preset
    from leanformer.profile.count import PRECISIONS, count
    from leanformer.profile.energy import EnergyModel, energy

    found = preset(name)
    counts = count(found.config, _CHUNK_MS, _LEFT_CONTEXT)
    return {
        "name": name,
        "summary": found.summary,
        "size": found.size,
        "model_dim": found.config.encoder.model_dim,
        "depth": found.config.encoder.depth,
        "parameters": counts.parameters,
        "weight_bytes": {kind: counts.weight_bytes(kind) for kind in PRECISIONS},
        "macs_per_second": counts.macs_per_second,
        "state_bytes": sum(counts.state_bytes.values()),
        "energy_mj_per_second": energy(counts, "int8", EnergyModel()).total,
        "chunk_ms": _CHUNK_MS,
        "left_context_frames": _LEFT_CONTEXT,
    }
