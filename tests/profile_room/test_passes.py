"""How late a second pass is, and whose turn it is, against the pass itself and by hand."""

from __future__ import annotations

import pytest
import torch

from leanformer.config import BlockConfig, ModelConfig, SecondPassConfig, SoftmaxAttentionConfig
from leanformer.encoder.cascade import SecondPass
from leanformer.profile.count import count_first, count_second, counted_model
from leanformer.profile.energy import EnergyModel, turns_of
from leanformer.profile.passes import latency_frames, passes_of
from leanformer.profile.profile import Profile
from leanformer.profile.report import to_dict

from .conftest import CHUNK_MS, LEFT

SUMS = ("weight_bytes", "macs_per_second", "state_bytes", "traffic_bytes_per_second", "energy_mj_per_second")


@pytest.mark.parametrize(
    ("given", "chunk", "lookahead"), [(16, 16, 8), (4, 16, 8), (16, 16, 0), (3, 4, 2), (8, 3, 5), (1, 2, 3)]
)
def test_a_second_pass_is_as_late_as_is_said(given: int, chunk: int, lookahead: int) -> None:
    block = BlockConfig(order=("ffn",), ffn_dim=4, attention=SoftmaxAttentionConfig(heads=1))
    config = SecondPassConfig(blocks=(block,), chunk_size=chunk, lookahead=lookahead)
    model = ModelConfig(second=config)
    layers = model.second_layers.model_copy(update={"model_dim": 4})
    second = SecondPass(config, layers).eval()
    state, waits, out = second.initial_state(1), [], 0
    for step in range(1, 3 * chunk + lookahead + 1):
        _, ready, state = second(torch.zeros(1, given, 4), torch.tensor([given]), state)
        waits += [step * given - frame for frame in range(out, out + int(ready))]
        out += int(ready)
    assert max(waits) == latency_frames(given, chunk, lookahead)


@pytest.mark.parametrize(
    ("periods", "turns"),
    [([640], [0]), ([640, 640], [0, 1]), ([320.0, 640.0], [0, 0, 1]), ([480, 640], [0, 1, 0, 1, 0, 0, 1])],
)
def test_turns(periods: list[float], turns: list[int]) -> None:
    assert turns_of(periods) == turns


def test_a_cascade_is_the_sum_of_its_passes(cascade: ModelConfig) -> None:
    prices = EnergyModel()
    found = to_dict(Profile("it", CHUNK_MS, LEFT, passes_of(cascade, CHUNK_MS, LEFT, prices), prices))
    first, second = found["passes"]
    model = counted_model(cascade)
    assert [one["name"] for one in found["passes"]] == ["first", "second"]
    assert [one["steps_per_second"] for one in found["passes"]] == [1000 / 320, 1000 / 160]
    assert (first["latency_frames"], first["delay_ms"]) == (8, 320)
    assert (second["latency_frames"], second["delay_ms"]) == (12, 480)
    assert first["macs_per_second"] == count_first(model, CHUNK_MS, LEFT).macs_per_second
    assert second["macs_per_second"] == count_second(model).macs_per_second
    for key in SUMS:
        if key == "weight_bytes":
            for kind in ("fp32", "int8"):
                assert found[key][kind] == first[key][kind] + second[key][kind]
        else:
            assert found[key] == pytest.approx(first[key] + second[key]), key
    for key in (*SUMS[1:], "parameters"):
        assert sum(one[key] for one in found["components"].values()) == pytest.approx(found[key]), key
    # The output layer is both passes', and trained but once.
    assert found["parameters"] == sum(one.numel() for one in model.parameters())
    assert found["parameters"] < first["parameters"] + second["parameters"]
    assert (
        found["components"]["output"]["parameters"]
        < first["components"]["output"]["parameters"] + second["components"]["output"]["parameters"]
    )
