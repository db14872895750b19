"""A profile for JSON, of which each figure is that of the whole model, or of a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leanformer.profile.count import PRECISIONS, Counts
from leanformer.profile.passes import Pass
from leanformer.profile.profile import Profile

SHIPPED = "int8"
"""The precision of single figures: it is what `leanformer export` makes and `transcribe` runs."""


def to_dict(profile: Profile) -> dict[str, Any]:
    """A profile for JSON. Figures without a precision are those of int8; the key `by_precision` has both.

    What can be added up is that of all passes; `latency_ms`, and all else that is measured of one graph, that of
    the first. The key `passes` has the same of each.
    """
    passes = [_pass(one) for one in profile.passes]
    whole = {key: _sum([one[key] for one in passes]) for key in _SUMS}
    return {
        "name": profile.name,
        "chunk_ms": profile.chunk_ms,
        "left_context_frames": profile.left_context,
        **whole,
        "parameters": distinct_parameters([one.counts for one in profile.passes]),
        "latency_ms": passes[0]["latency_ms"],
        "components": _components(profile, [one["components"] for one in passes]),
        "by_precision": {kind: _of_all(profile, kind, passes) for kind in PRECISIONS},
        "passes": passes,
        "energy_model": vars(profile.energy_model),
        "machine": None if profile.machine is None else profile.machine.to_dict(),
    }


_SUMS = (
    "parameters",
    "weight_bytes",
    "macs_per_second",
    "state_bytes",
    "traffic_bytes_per_second",
    "energy_mj_per_second",
)


def distinct_parameters(passes: Sequence[Counts], component: str | None = None) -> int:
    """Trained numbers of several passes, or of a component of theirs; those that two passes read count once."""
    weights = {weight.name: weight for counts in passes for weight in counts.weights}
    return sum(one.parameters for one in weights.values() if component in (None, one.component))


def norm_and_activation(time_shares: dict[str, float]) -> float:
    """The share of time that normalisation and activation functions take; attention's softmax is neither."""
    return time_shares.get("normalisation", 0.0) + time_shares.get("activation", 0.0)


def _sum(values: Sequence[Any]) -> Any:
    """The sum of numbers, or of dicts key by key."""
    if isinstance(values[0], dict):
        keys = dict.fromkeys(key for value in values for key in value)
        return {key: _sum([value[key] for value in values if key in value]) for key in keys}
    return sum(values)


def _components(profile: Profile, passes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Those of all passes, added up."""
    components: dict[str, Any] = _sum(passes)
    spent = sum(one["energy_mj_per_second"] for one in components.values())
    for name, one in components.items():
        one["parameters"] = distinct_parameters([each.counts for each in profile.passes], name)
        one["energy_share"] = one["energy_mj_per_second"] / spent if spent else 0.0
    return components


def _of_all(profile: Profile, kind: str, passes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All passes in one precision: sums where there are any, else the first's."""
    each = [one["by_precision"][kind] for one in passes]
    summed = ["traffic_bytes_per_second", "energy_mj_per_second", "energy_by_cause"]
    values: dict[str, Any] = each[0] | {key: _sum([one[key] for one in each]) for key in summed}
    read = [one["traffic_bytes_per_second"]["weights"] for one in each]
    missed = sum(size * one["weights_from_dram_share"] for size, one in zip(read, each, strict=True))
    values["weights_from_dram_share"] = missed / max(1.0, sum(read))
    if profile.peak_memory:
        values["real_time_factor"] = _sum([one["real_time_factor"] for one in each])
        values |= _memory(profile.peak_memory[kind])
    return values


def _pass(one: Pass) -> dict[str, Any]:
    counts, measured = one.counts, one.measured
    traffic = {kind: _traffic(counts, kind) for kind in PRECISIONS}
    return {
        "name": one.name,
        "chunk_ms": counts.chunk_ms,
        "steps_per_second": counts.steps_per_second,
        "left_context_frames": one.left_context,
        "latency_frames": one.latency_frames,
        "delay_ms": one.delay_ms,
        "parameters": counts.parameters,
        "weight_bytes": {kind: counts.weight_bytes(kind) for kind in PRECISIONS},
        "macs_per_second": counts.macs_per_second,
        "state_bytes": sum(counts.state_bytes.values()),
        "traffic_bytes_per_second": sum(traffic[SHIPPED].values()),
        "energy_mj_per_second": one.energies[SHIPPED].total,
        "latency_ms": measured and {kind: found.to_dict() for kind, found in measured.latency.items()},
        "components": {name: _component(one, name) for name in counts.work},
        "by_precision": {kind: _by_precision(one, kind, traffic[kind]) for kind in PRECISIONS},
    }


def _component(one: Pass, name: str) -> dict[str, Any]:
    counts, work, spent = one.counts, one.counts.work[name], one.energies[SHIPPED]
    state = counts.state_bytes.get(name, 0)
    read = sum(counts.weights[i].bytes(SHIPPED) for i in counts.reads if counts.weights[i].component == name)
    return {
        "parameters": distinct_parameters([counts], name),
        "weight_bytes": {kind: counts.weight_bytes(kind, name) for kind in PRECISIONS},
        "macs_per_second": counts.steps_per_second * work.macs,
        "state_bytes": state,
        "traffic_bytes_per_second": counts.steps_per_second * (read + work.activation_bytes + 2 * state),
        "energy_mj_per_second": spent.by_component[name],
        "energy_share": spent.by_component[name] / spent.total if spent.total else 0.0,
    }


def _traffic(counts: Counts, precision: str) -> dict[str, float]:
    """Bytes moved for a second of audio, by what they are."""
    per_step = {
        "weights": sum(counts.weights[index].bytes(precision) for index in counts.reads),
        "activations": sum(work.activation_bytes for work in counts.work.values()),
        "state": 2 * sum(counts.state_bytes.values()),
    }
    return {name: counts.steps_per_second * size for name, size in per_step.items()}


def _by_precision(one: Pass, kind: str, traffic: dict[str, float]) -> dict[str, Any]:
    spent, measured = one.energies[kind], one.measured
    values: dict[str, Any] = {
        "traffic_bytes_per_second": traffic,
        "energy_mj_per_second": spent.total,
        "energy_by_cause": spent.by_cause,
        "weights_from_dram_share": spent.dram_share,
    }
    if measured is not None:
        p50 = measured.latency[kind].p50
        values |= {
            "real_time_factor": p50 / one.counts.chunk_ms,
            "time_shares": measured.time_shares[kind],
            "norm_and_activation_share": norm_and_activation(measured.time_shares[kind]),
            **_memory(measured.peak_memory[kind]),
            "machine_limit_ms": measured.limit_ms[kind],
            "share_of_machine_limit": measured.limit_ms[kind] / p50,
        }
    return values


def _memory(peak: dict[str, int]) -> dict[str, int]:
    return {"peak_memory_bytes": peak["peak"], "peak_memory_before_loading_bytes": peak["before"]}
