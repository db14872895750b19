"""The arithmetic around the measurements."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from leanformer.profile.count import Counts, Weight
from leanformer.profile.latency import Latency, race, ratio
from leanformer.profile.machine import Machine, limit_ms
from leanformer.profile.meter import Work
from leanformer.profile.nodes import kind_of, shares, time_by_kind


class Scripted:
    """Takes as long as it is told, turn by turn."""

    def __init__(self, log: list[str], name: str, *turns: float) -> None:
        self.log, self.name, self.turns = log, name, list(turns)

    def step(self) -> float:
        self.log.append(self.name)
        return self.turns.pop(0)


def test_models_take_turns_and_the_warm_up_does_not_count() -> None:
    log: list[str] = []
    runners = {
        "a": Scripted(log, "a", 9, 9, 9, 1, 2, 6),
        "b": Scripted(log, "b", 9, 9, 9, 2, 4, 3),
    }
    found = race(runners, 3)  # type: ignore[arg-type]
    assert log == ["a", "b"] * 6
    assert found["a"].turns == (1, 2, 6)
    assert found["a"].p50 == 2
    assert found["a"].p95 == pytest.approx(5.6)
    # Turn by turn 2, 2 and 0.5: a turn in which the machine was busy does not move the median.
    assert ratio(found["b"], found["a"]) == 2


def test_a_latency_for_json() -> None:
    assert Latency((1.0, 1.0)).to_dict() == {"p50": 1.0, "p95": 1.0}


@pytest.mark.parametrize(
    ("precision", "cache", "expected"),
    [
        ("fp32", 1e9, 1000 * (8e6 / 1e9 + 2e6 / 1e9)),
        ("int8", 1e9, 1000 * (8e6 / 4e9 + 2e6 / 1e9)),
        ("fp32", 0, 1000 * 4e6 / 1e8),  # bound by memory
        ("int8", 1e6, 1000 * (8e6 / 4e9 + 2e6 / 1e9)),  # fits, just
    ],
)
def test_the_limit_of_the_machine(precision: str, cache: int, expected: float) -> None:
    counts = Counts(
        640.0,
        (Weight("w", "output", 10**6, 4 * 10**6, 10**6),),
        (0,),
        {"output": Work(linear_macs=8 * 10**6, other_macs=2 * 10**6)},
        {},
    )
    assert limit_ms(counts, precision, Machine(1e9, 4e9, 1e8, int(cache))) == pytest.approx(expected)


def test_kinds_of_nodes() -> None:
    assert kind_of("DynamicQuantizeMatMul") == "matrix products"
    assert kind_of("LayerNormalization") == "normalisation"
    assert kind_of("Transpose") == "moving data"
    assert shares({"a": 3.0, "b": 1.0}) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize("gated", [True, False])
def test_a_product_with_a_sigmoid_is_an_activation(gated: bool) -> None:
    nodes = [
        helper.make_node("Sigmoid", ["features"], ["gate"], "sigmoid"),
        helper.make_node("Mul", ["state", "gate" if gated else "state"], ["log_probs"], "product"),
        helper.make_node("Identity", ["state"], ["next_state"], "kept"),
        helper.make_node("Identity", ["lengths"], ["next_lengths"], "same"),
    ]
    inputs = [
        helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 8, 80]),
        helper.make_tensor_value_info("lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 8, 80]),
    ]
    outputs = [
        helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, [1, 8, 80]),
        helper.make_tensor_value_info("next_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("next_state", TensorProto.FLOAT, [1, 8, 80]),
    ]
    graph = helper.make_graph(nodes, "gate", inputs, outputs)
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    found = time_by_kind(model.SerializeToString(), 8)
    assert found["activation"] > 0
    assert ("sums and scalings" in found) is not gated
