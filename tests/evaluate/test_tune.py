"""The search for a weight and bonus, on functions whose lowest point is known."""

from __future__ import annotations

import pytest

from leanformer.evaluate.tune import pattern_search


@pytest.mark.parametrize(("weight", "ratio"), [(0.6, 3.5), (0.95, 2.0), (0.3, 5.0)])
def test_the_lowest_point_is_found(weight: float, ratio: float) -> None:
    calls: list[tuple[float, float]] = []

    def errors(a: float, b: float) -> float:
        calls.append((a, b))
        return (a - weight) ** 2 + 0.05 * (b / a - ratio) ** 2

    trials = list(pattern_search(errors))
    best = min(trials, key=lambda trial: trial.wer)
    assert best.weight == pytest.approx(weight, abs=0.051)
    assert best.bonus / best.weight == pytest.approx(ratio, abs=0.26)
    assert len(set(calls)) == len(calls) == len(trials) < 40


def test_weights_stay_above_nothing() -> None:
    assert min(trial.weight for trial in pattern_search(lambda weight, _: weight)) > 0
