"""`leanformer profile`: what a model costs."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from leanformer.cli.outcome import OK, UsageError
from leanformer.errors import ConfigError

_AtLeastOne = Parameter(validator=validators.Number(gte=1))
_NotNegative = Parameter(validator=validators.Number(gte=0))
_Several = Parameter(negative=(), consume_multiple=True)
_Flag = Parameter(negative=())
_PLAIN = "plain"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """How to profile, and what to write."""

    chunk_ms: Annotated[int | None, _AtLeastOne] = None
    "Milliseconds of speech in a chunk. Default: a bundle's own, else 640."

    left_context: Annotated[int | None, _AtLeastOne] = None
    "Encoder frames that attention looks back. Default: the bundle's or recipe's own, else 64."

    depth: Annotated[int | None, _AtLeastOne] = None
    "Cut the model off after so many layers, as shallow inference does."

    against: str | None = None
    "Another preset, recipe or bundle, timed in turn; or `plain`, the plain Conformer of a preset's size."

    rounds: Annotated[int, _NotNegative] = 40
    "How many chunks of each pass to time; 0 only counts, which takes a second and needs no export."

    energy: Annotated[tuple[str, ...], _Several] = ()
    """NAME=VALUE pairs that replace constants of the energy model: dram_pj_per_byte, sram_pj_per_byte, int8_mac_pj,
    fp32_mac_pj, sram_bytes."""

    json: Annotated[bool, _Flag] = False
    "Print the figures as JSON."

    plot: Path | None = None
    "Draw the figures into this file (.png, .svg or .pdf)."


def profile(model: str, *, options: Options = Options()) -> int:
    """Say what a model costs: size, multiply-accumulates, state, traffic, modelled energy, measured latency.

    Of a cascade, both passes together and each apart; the latency beside another model's is that of the first pass.
    Latency is measured with random weights on one thread of ONNX Runtime, as a bundle runs. Export comes first,
    which takes seconds, and up to a minute for a large model.

    Args:
        model: A preset (see `leanformer presets`), a recipe (.toml), or the folder of a bundle; `default` is the
            model that ships with Leanformer.
    """
    # Here, not above, for a quick --help.
    from leanformer.presets import PLAIN, base_name
    from leanformer.profile.subject import find_subject

    subjects = [find_subject(model, options.depth)]
    if options.against == _PLAIN:
        if subjects[0].plain is None:
            raise UsageError("--against plain: only a preset has a plain Conformer of its size; name a model")
        subjects.append(find_subject(base_name(model) + PLAIN))
    elif options.against is not None:
        subjects.append(find_subject(options.against))

    if options.plot is not None:
        from leanformer.profile.plot import figure_of_matplotlib

        figure_of_matplotlib()  # better now than after a minute's work
    from leanformer.profile.graphs import say
    from leanformer.profile.profile import Options as ProfileOptions
    from leanformer.profile.profile import profile as run

    found = run(
        subjects,
        ProfileOptions(options.chunk_ms, options.left_context, options.rounds, energy_model(options.energy)),
        say,
    )
    _print(found, options)
    return OK


def energy_model(changes: Sequence[str]):  # type: ignore[no-untyped-def]
    """The energy model with some of its constants replaced; raises ConfigError naming the one that is wrong."""
    from leanformer.profile.energy import EnergyModel

    values = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or name not in EnergyModel.names():
            raise ConfigError(
                f"--energy {change}: expected NAME=VALUE; the names are {', '.join(EnergyModel.names())}"
            )
        try:
            values[name] = float(value)
        except ValueError:
            raise ConfigError(f"--energy {change}: {value!r} is no number") from None
    return EnergyModel(**values)


def _print(found, options: Options) -> None:  # type: ignore[no-untyped-def]
    from leanformer.profile.profile import latency_ratios
    from leanformer.profile.report import to_dict

    if options.plot is not None:
        from leanformer.profile.plot import plot

        plot(found, options.plot)
    if options.json:
        values = to_dict(found[0])
        if len(found) == 2:
            values["against"] = to_dict(found[1])
            values["times_faster"] = latency_ratios(found[1], found[0]) or None
        print(json_format.dumps(values, indent=2))
        return
    from rich.console import Console

    from leanformer.profile.tables import tables

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    for table in tables(found):
        console.print(table)
