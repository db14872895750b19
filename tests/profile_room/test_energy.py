"""Modelled energy by hand, and what a small on-chip memory keeps."""

from __future__ import annotations

import dataclasses

import pytest

from leanformer.errors import ConfigError
from leanformer.profile.count import Counts, Weight
from leanformer.profile.energy import EnergyModel, energies, energy, misses
from leanformer.profile.meter import Work

KB = 1000


def counts(reads: tuple[int, ...], state: int = 500) -> Counts:
    """Two weights of 2000 parameters, in steps of half a second."""
    weights = tuple(Weight(f"w{i}", "feed_forward", 2 * KB, 8 * KB, 2 * KB) for i in range(2))
    work = {"feed_forward": Work(linear_macs=10 * KB, other_macs=KB, activation_bytes=300)}
    return Counts(500.0, weights, reads, work, {"feed_forward": state})


def test_by_hand_in_int8_from_dram() -> None:
    prices = EnergyModel(160.0, 1.25, 0.23, 4.6, sram_bytes=600)
    found = energy(counts((0, 1)), "int8", prices)
    picojoules = 2 * 2 * KB * 160 + 300 * 1.25 + 2 * 500 * 1.25 + 10 * KB * 0.23 + KB * 4.6
    assert found.total == pytest.approx(2 * picojoules * 1e-9)
    assert found.dram_share == 1.0
    assert sum(found.by_cause.values()) == pytest.approx(found.total)


def test_by_hand_in_fp32_with_state_in_dram() -> None:
    found = energy(counts((0, 1)), "fp32", EnergyModel(100.0, 1.0, 0.5, 2.0, sram_bytes=499))
    picojoules = 2 * 8 * KB * 100 + 300 + 2 * 500 * 100 + 11 * KB * 2
    assert found.total == pytest.approx(2 * picojoules * 1e-9)


def test_a_model_that_fits_is_read_from_on_chip_memory() -> None:
    assert energy(counts((0, 1)), "int8", EnergyModel(sram_bytes=4500)).dram_share == 0.0
    assert energy(counts((0, 1)), "int8", EnergyModel(sram_bytes=4499)).dram_share == 1.0


def test_a_shared_weight_that_fits_is_fetched_once_a_chunk() -> None:
    found = energy(counts((0, 0, 0, 1)), "int8", EnergyModel(sram_bytes=2500))
    assert found.dram_share == 0.5


@pytest.mark.parametrize(
    ("reads", "room", "expected"),
    [
        ((0, 1), 20, (False, False)),  # both stay from step to step
        ((0, 1), 19, (True, True)),  # each drives the other out
        ((0, 0, 1), 10, (True, False, True)),
        ((0, 1, 0, 1), 20, (False, False, False, False)),
        ((0, 0), 9, (True, True)),  # larger than the memory
    ],
)
def test_misses(reads: tuple[int, ...], room: int, expected: tuple[bool, ...]) -> None:
    assert tuple(misses([10, 10], reads, room)) == expected


def test_a_weight_too_large_drives_nothing_out() -> None:
    assert misses([10, 50], (0, 1), 20) == [False, True]


def test_negative_constants_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"int8_mac_pj = -1"):
        EnergyModel(int8_mac_pj=-1)


def test_passes_push_one_another_out_of_the_memory() -> None:
    first, second = counts((0, 1)), counts((0, 1))
    room = EnergyModel(sram_bytes=5000)  # 4000 for the weights of one, and 500 or 1000 for the state
    assert energy(first, "int8", room).dram_share == 0.0
    assert [one.dram_share for one in energies((first, second), "int8", room)] == [1.0, 1.0]
    both = EnergyModel(sram_bytes=9000)
    assert [one.dram_share for one in energies((first, second), "int8", both)] == [0.0, 0.0]
    alone = energy(first, "int8", both).total
    assert sum(one.total for one in energies((first, second), "int8", both)) == pytest.approx(2 * alone)


def test_a_rare_pass_is_counted_as_often_as_it_comes() -> None:
    often, rare = counts((0, 1)), dataclasses.replace(counts((0,)), chunk_ms=1000.0)
    # Room for two weights: after the rare pass, the often one finds neither of its own, but in its second turn both.
    found = energies((often, rare), "int8", EnergyModel(100.0, 0.0, 0.0, 0.0, sram_bytes=5500))
    assert [one.dram_share for one in found] == [0.5, 1.0]
    assert [one.total for one in found] == pytest.approx([4 * KB * 100e-9, 2 * KB * 100e-9])
