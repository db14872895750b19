"""Composed counts are those of the whole model; capacity and the latency model by hand."""

from __future__ import annotations

import numpy as np
import pytest

from leanformer.design.cost import CostTable, capacity
from leanformer.design.space import Design, designs
from leanformer.design.speed import SpeedModel, features, fit
from leanformer.profile.count import count
from leanformer.profile.energy import EnergyModel, energy
from leanformer.profile.machine import Machine

CHUNK_MS, LEFT, VOCABULARY = 320, 8, 11


@pytest.fixture(scope="module")
def table() -> CostTable:
    return CostTable(CHUNK_MS, LEFT, VOCABULARY)


@pytest.mark.parametrize(
    "design",
    [
        Design(64, 4, 2, 0, "softmax", 1, 1, "layer"),
        Design(64, 4, 2, 1, "softmax", 1, 1, "batch"),
        Design(64, 8, 4, 2, "performer", 2, 2, "batch"),
        Design(96, 8, 2, 0, "softmax", 4, 4, "layer"),
    ],
    ids=str,
)
def test_composed_counts_are_those_of_the_whole(table: CostTable, design: Design) -> None:
    found, whole = table.counts(design), count(design.config(VOCABULARY), CHUNK_MS, LEFT)
    assert found.work == whole.work
    assert found.parameters == whole.parameters
    assert found.weight_bytes("int8") == whole.weight_bytes("int8")
    shared_counters = 4 * (design.depth - design.local_layers - 1) if design.attention == "softmax" else 0
    assert sum(found.state_bytes.values()) == sum(whole.state_bytes.values()) + shared_counters
    for sram in (10_000, 100_000, 10_000_000):
        prices = EnergyModel(sram_bytes=sram)
        expected = energy(whole, "int8", prices).total
        assert energy(found, "int8", prices).total == pytest.approx(expected, rel=2e-3), sram


def test_capacity_of_the_plain_conformer_is_its_size(table: CostTable) -> None:
    counts = table.counts(Design(64, 4, 2, 0, "softmax", 1, 1, "layer"))
    inner = sum(w.parameters for w in counts.weights if w.component not in ("front_end", "output"))
    assert capacity(counts) == pytest.approx(inner, rel=0.05)


def test_capacity_of_shared_and_folded_layers(table: CostTable) -> None:
    plain, shared, folded = (
        capacity(table.counts(Design(64, 8, 4, 0, "softmax", fold, runs, "layer")))
        for fold, runs in ((1, 1), (1, 4), (2, 1))
    )
    assert shared / plain == pytest.approx(4**-0.5, rel=0.01)
    assert 0.4 < folded / plain < 0.7


def test_every_design_can_be_built() -> None:
    found = list(designs())
    assert len(found) == len(set(found)) > 5000
    for design in found[:: len(found) // 300]:
        encoder = design.config(VOCABULARY).encoder
        assert encoder.depth == design.depth
        local = [
            encoder.blocks[index]
            for index in encoder.layer_map
            if "attention" not in encoder.blocks[index].order
        ]
        assert len(local) == design.local_layers < design.depth


def test_the_fit_finds_what_the_times_were_made_of() -> None:
    rows = np.random.default_rng(0).uniform(1, 5, (9, 4))
    truth = np.array([0.2, 0.05, 0.0, 0.3])
    assert fit(list(rows), list(rows @ truth)) == pytest.approx(truth, abs=1e-9)


def test_no_coefficient_is_negative() -> None:
    rows = np.array([[1.0, 1, 1, 1], [1, 2, 1, 1], [1, 3, 2, 1], [1, 4, 1, 2], [1, 5, 3, 3]])
    found = fit(list(rows), [5.0, 4.0, 3.0, 2.0, 1.0])
    assert min(found) >= 0
    assert max(found) > 0


def test_modelled_time_by_hand(table: CostTable) -> None:
    counts = table.counts(Design(64, 4, 2, 0, "softmax", 1, 1, "layer"))
    one, macs, moved, operations = features(counts)
    assert one == 1
    assert macs == sum(work.linear_macs for work in counts.work.values()) / 1e6
    size = counts.weight_bytes("int8")
    fits = SpeedModel((1.0, 2.0, 3.0, 4.0), Machine(1, 1, 1e6, size))
    assert fits.ms(counts) == pytest.approx(1 + 2 * macs + 3 * moved + 4 * operations)
    spills = SpeedModel((0.0, 0.0, 0.0, 0.0), Machine(1, 1, 1e6, size - 1000))
    assert spills.ms(counts) == pytest.approx(1.0)
