"""The Pareto set, budgets, and the choice, with costs that are told and not measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from leanformer.cli.app import main
from leanformer.design import run as run_module
from leanformer.design.search import Budget, Costed, pareto, spread, within
from leanformer.design.space import Design
from leanformer.design.speed import SpeedModel
from leanformer.errors import DesignError
from leanformer.profile.count import Counts
from leanformer.profile.latency import Latency
from leanformer.profile.machine import Machine
from leanformer.train.overrides import load_recipe

DESIGN = Design(64, 4, 2, 0, "softmax", 1, 1, "layer")
COUNTS = Counts(640.0, (), (), {}, {})


def costed(capacity: float, mb: float, ms: float, mj: float) -> Costed:
    return Costed(dataclasses.replace(DESIGN, model_dim=int(capacity)), COUNTS, capacity, mb, ms, mj)


LARGE, MEDIUM, SMALL = costed(30, 3, 9, 3), costed(20, 2, 5, 2), costed(10, 1, 2, 1)
BEATEN = costed(15, 2, 6, 2)


def test_pareto_leaves_out_what_is_beaten() -> None:
    assert pareto([SMALL, BEATEN, LARGE, MEDIUM]) == [LARGE, MEDIUM, SMALL]
    frugal = costed(15, 2, 6, 1.5)  # slower than MEDIUM, but needs less energy
    assert pareto([SMALL, frugal, LARGE, MEDIUM]) == [LARGE, MEDIUM, frugal, SMALL]
    assert pareto([SMALL, frugal, LARGE, MEDIUM], ["mb", "ms"]) == [LARGE, MEDIUM, SMALL]


def test_budgets() -> None:
    assert within([LARGE, MEDIUM, SMALL], Budget(mb=2)) == [MEDIUM, SMALL]
    assert within([LARGE, MEDIUM, SMALL], Budget(ms=5, mj=1)) == [SMALL]
    assert within([LARGE], Budget()) == [LARGE]


def test_what_the_nearest_would_need() -> None:
    with pytest.raises(DesignError) as caught:
        within([LARGE, MEDIUM, SMALL], Budget(mb=0.5, ms=1.5, mj=9))
    message = str(caught.value)
    assert "keeps to 0.5 MB, 1.5 ms a chunk, 9 mJ/s" in message
    assert message.endswith("needs --max-mb 1, --max-ms-per-chunk 2")


def test_spread_keeps_both_ends() -> None:
    front = [costed(100 - i, 1, 1, 1) for i in range(50)]
    found = spread(front, 5)
    assert (found[0], found[-1], len(found)) == (front[0], front[-1], 5)
    assert spread(front[:3], 5) == front[:3]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, float]], list[int]]:
    """Makes the search cost four designs, and measure what it is told by width; gives what was measured."""

    def make(times: dict[int, float]) -> list[int]:
        asked: list[int] = []

        def measure(design: Design, *arguments: object) -> Latency:
            asked.append(design.model_dim)
            return Latency((times[design.model_dim],) * 3)

        monkeypatch.setattr(run_module, "calibrate", lambda *_: SpeedModel((0, 0, 0, 0), Machine(1, 1, 1, 1)))
        monkeypatch.setattr(run_module, "cost_all", lambda *_: [LARGE, MEDIUM, SMALL, BEATEN])
        monkeypatch.setattr(run_module, "measure", measure)
        return asked

    return make


def search(budget: Budget) -> run_module.Found:
    return run_module.search(budget, 640, 64, run_module.EnergyModel())


def test_the_largest_capacity_within_the_budget(told: Callable[..., list[int]]) -> None:
    asked = told({30: 9.0})
    found = search(Budget(ms=10))
    assert found.chosen == LARGE
    assert asked == [30]


def test_too_slow_as_measured_leads_to_another_choice(told: Callable[..., list[int]]) -> None:
    asked = told({20: 7.0, 10: 2.8})  # all take 1.4 times what was modelled
    assert search(Budget(ms=6)).chosen.capacity == 10
    assert asked == [20, 10]


def test_faster_than_modelled_leads_to_a_larger_one(told: Callable[..., list[int]]) -> None:
    asked = told({20: 2.5, 30: 4.5})
    assert search(Budget(ms=6)).chosen.capacity == 30
    assert asked == [20, 30]


def test_a_larger_one_that_turns_out_too_slow_is_not_chosen(told: Callable[..., list[int]]) -> None:
    told({20: 2.5, 30: 6.5})
    assert search(Budget(ms=6)).chosen.capacity == 20


def test_all_too_slow_as_measured(told: Callable[..., list[int]]) -> None:
    told({30: 20.0, 20: 20.0, 10: 9.5})
    with pytest.raises(DesignError, match=r"nothing in the search space keeps to 9 ms|took longer"):
        search(Budget(ms=9))


def test_the_command(
    told: Callable[..., list[int]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told({64: 9.0, 30: 9.0})
    monkeypatch.setattr(run_module, "cost_all", lambda *_: [dataclasses.replace(LARGE, design=DESIGN), SMALL])
    target, picture = tmp_path / "mine.toml", tmp_path / "it.svg"
    arguments = ["design", "--max-mb", "4", "-o", str(target)]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chosen"]["capacity"] == 30
    assert found["chosen"]["latency_ms"]["int8"]["p50"] == 9.0
    assert [one["int8_mb"] for one in found["pareto"]] == [3, 1]
    recipe = load_recipe(target)
    assert recipe.name == "mine"
    assert recipe.model == DESIGN.config(256)
    assert main(arguments) == 2
    assert "add --force" in capsys.readouterr().err
    assert main([*arguments, "--force", "--plot", str(picture)]) == 0
    assert "measured 9.00 ms a chunk" in capsys.readouterr().out
    assert picture.exists()


def test_a_budget_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["design"]) == 2
    assert "give --max-mb, --max-ms-per-chunk or --max-mj-per-second" in capsys.readouterr().err
