"""A profile as a person should see it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from leanformer.profile.count import PRECISIONS
from leanformer.profile.passes import Pass
from leanformer.profile.profile import Profile, latency_ratios
from leanformer.profile.report import SHIPPED, norm_and_activation, to_dict


def tables(profiles: Sequence[Profile]) -> Iterator[RenderableType]:
    """The figures of one or two models side by side, then each one's passes and components and where its time goes."""
    yield _figures(profiles)
    for profile in profiles:
        if len(profile.passes) > 1:
            yield _passes(profile)
        yield _components(profile)
    if all(profile.first.measured is not None for profile in profiles):
        yield _times(profiles)


def _figures(profiles: Sequence[Profile]) -> Table:
    chunk = profiles[0].chunk_ms
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"in chunks of {chunk:g} ms")
    for profile in profiles:
        table.add_column(profile.name, justify="right")
    if len(profiles) == 2:
        table.add_column("ratio", justify="right")
    for title, values, digits in _rows(profiles):
        cells = [f"{value:,.{digits}f}" for value in values]
        if len(values) == 2:
            cells.append(f"{values[1] / values[0]:.2f}x" if values[0] else "-")
        table.add_row(title, *cells)
    if len(profiles) == 2:
        table.caption = _faster(*profiles)
    return table


def _faster(first: Profile, second: Profile) -> str | None:
    """Which of two is faster, by precision, from the ratios of turns; None if they were not timed."""
    told = [
        f"{kind} {max(value, 1 / value):.2f}x ({first.name if value > 1 else second.name})"
        for kind, value in latency_ratios(second, first).items()
    ]
    return f"faster, turn by turn: {', '.join(told)}" if told else None


def _rows(profiles: Sequence[Profile]) -> Iterator[tuple[str, list[float], int]]:
    plain = [to_dict(profile) for profile in profiles]
    yield "parameters, M", [one["parameters"] / 1e6 for one in plain], 2
    for kind in PRECISIONS:
        yield f"weights in {kind}, MB", [one["weight_bytes"][kind] / 1e6 for one in plain], 2
    yield "MACs a second of audio, M", [one["macs_per_second"] / 1e6 for one in plain], 1
    yield "streaming state, kB", [one["state_bytes"] / 1e3 for one in plain], 1
    yield "moved a second of audio, MB", [one["traffic_bytes_per_second"] / 1e6 for one in plain], 1
    yield "modelled energy, mJ/s", [one["energy_mj_per_second"] for one in plain], 3
    yield (
        "weights read from DRAM, %",
        [100 * one["by_precision"][SHIPPED]["weights_from_dram_share"] for one in plain],
        0,
    )
    measured = [profile.first.measured for profile in profiles if profile.first.measured is not None]
    if len(measured) < len(profiles):
        return
    told = "first pass, " if any(len(profile.passes) > 1 for profile in profiles) else ""
    for kind in PRECISIONS:
        peaks = [profile.peak_memory[kind]["peak"] / 1e6 for profile in profiles]
        norms = [100 * norm_and_activation(one.time_shares[kind]) for one in measured]
        yield f"{kind}: {told}ms a chunk, p50", [one.latency[kind].p50 for one in measured], 2
        yield f"{kind}: {told}ms a chunk, p95", [one.latency[kind].p95 for one in measured], 2
        yield f"{kind}: {told}the machine's limit, ms", [one.limit_ms[kind] for one in measured], 2
        yield f"{kind}: {told}norms and activations, % of time", norms, 1
        yield f"{kind}: peak memory, MB", peaks, 0


def _passes(profile: Profile) -> Table:
    """What each pass takes; the duty cycle is its steps a second, and its share of time once that is measured."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(profile.name)
    values = to_dict(profile)
    for one in (*values["passes"], None):
        table.add_column("both" if one is None else f"{one['name']} pass", justify="right")
    columns = [_pass_cells(one) for one in values["passes"]]
    both = _pass_cells(values)
    for title in columns[0]:
        table.add_row(title, *(column[title] for column in columns), both.get(title, ""))
    return table


def _pass_cells(one: dict[str, Any]) -> dict[str, str]:
    """Of a pass, or of all of them, for which there are no times of a step."""
    cells = {}
    if "delay_ms" in one:
        cells["steps a second of audio"] = f"{one['steps_per_second']:.4g}"
        cells["a frame waits at most, ms"] = f"{one['delay_ms']:,.0f}"
    cells |= {
        "parameters, M": f"{one['parameters'] / 1e6:,.2f}",
        f"weights in {SHIPPED}, MB": f"{one['weight_bytes'][SHIPPED] / 1e6:,.2f}",
        "MACs a second of audio, M": f"{one['macs_per_second'] / 1e6:,.1f}",
        "streaming state, kB": f"{one['state_bytes'] / 1e3:,.1f}",
        "moved a second of audio, MB": f"{one['traffic_bytes_per_second'] / 1e6:,.1f}",
        "modelled energy, mJ/s": f"{one['energy_mj_per_second']:,.3f}",
    }
    if one["latency_ms"] is not None:
        for kind in PRECISIONS:
            if "delay_ms" in one:
                cells[f"{kind}: ms a step, p50"] = f"{one['latency_ms'][kind]['p50']:.2f}"
            busy = one["by_precision"][kind]["real_time_factor"]
            cells[f"{kind}: busy, % of the time"] = f"{100 * busy:.2f}"
    return cells


def _components(profile: Profile) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(profile.name)
    for heading in ("parameters", "int8 kB", "M MACs/s", "state kB", "moved MB/s", "mJ/s", "energy %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, one in to_dict(profile)["components"].items():
        table.add_row(
            name.replace("_", " "),
            f"{one['parameters']:,}",
            f"{one['weight_bytes'][SHIPPED] / 1e3:,.1f}",
            f"{one['macs_per_second'] / 1e6:,.1f}",
            f"{one['state_bytes'] / 1e3:,.1f}",
            f"{one['traffic_bytes_per_second'] / 1e6:,.2f}",
            f"{one['energy_mj_per_second']:.4f}",
            f"{100 * one['energy_share']:.1f}",
        )
    return table


def _times(profiles: Sequence[Profile]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("time by kind of node, %")
    columns = [
        (_times_of(profile, one, kind), one.measured.time_shares[kind])
        for profile in profiles
        for one in profile.passes
        if one.measured is not None
        for kind in PRECISIONS
    ]
    for title, _ in columns:
        table.add_column(title, justify="right")
    for kind in dict.fromkeys(name for _, found in columns for name in found):
        table.add_row(kind, *(f"{100 * found.get(kind, 0.0):.1f}" for _, found in columns))
    return table


def _times_of(profile: Profile, one: Pass, kind: str) -> str:
    return f"{profile.name} {kind}" if len(profile.passes) == 1 else f"{profile.name} {one.name} {kind}"
