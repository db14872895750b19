"""A profile as a person should see it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from leanformer.profile.count import PRECISIONS
from leanformer.profile.profile import SHIPPED, Profile, latency_ratios, norm_and_activation, to_dict


def tables(profiles: Sequence[Profile]) -> Iterator[RenderableType]:
    """The figures of one or two models side by side, then each one's components and where its time goes."""
    yield _figures(profiles)
    for profile in profiles:
        yield _components(profile)
    if all(profile.measured is not None for profile in profiles):
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
    measured = [profile.measured for profile in profiles if profile.measured is not None]
    if len(measured) < len(profiles):
        return
    for kind in PRECISIONS:
        yield f"{kind}: ms a chunk, p50", [one.latency[kind].p50 for one in measured], 2
        yield f"{kind}: ms a chunk, p95", [one.latency[kind].p95 for one in measured], 2
        yield f"{kind}: the machine's limit, ms", [one.limit_ms[kind] for one in measured], 2
        yield f"{kind}: peak memory, MB", [one.peak_memory[kind]["peak"] / 1e6 for one in measured], 0
        yield (
            f"{kind}: norms and activations, % of time",
            [100 * norm_and_activation(one.time_shares[kind]) for one in measured],
            1,
        )


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
        (f"{profile.name} {kind}", profile.measured.time_shares[kind])
        for profile in profiles
        if profile.measured is not None
        for kind in PRECISIONS
    ]
    for title, _ in columns:
        table.add_column(title, justify="right")
    for kind in dict.fromkeys(name for _, found in columns for name in found):
        table.add_row(kind, *(f"{100 * found.get(kind, 0.0):.1f}" for _, found in columns))
    return table
