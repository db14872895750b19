"""What the page says follows from the JSON by the rule that it states."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

COST = {
    "parameters": 1_000_000,
    **{f"bytes_{kind}": 1_000_000 for kind in ("int8", "fp32")},
    **{f"mj_per_second_{kind}": 2.0 for kind in ("int8", "fp32")},
    "state_bytes": 1000,
    "macs_per_second": 5_000_000,
}
TRAINED = {"outcome": "trained", "step": 30, "of_steps": 30, "seconds": 600.0, "curves": {}}


def row(wer: float | None = None, gap: list[float] | None = None, **changes: Any) -> dict[str, Any]:
    """A row of the JSON, heard at 640 ms in int8 if it has a WER."""
    found = {"all": {"wer": [wer, wer and wer - 1, wer and wer + 1], "gap": gap}}
    heard = {"variant": "", "chunk": "640 ms", "precision": "int8", "seeds": [0], "corpora": found}
    return {
        "paper": "A paper",
        "claim": "paper: as good",
        "of": "",
        "start": "",
        "changes": ["a=1"],
        "variants": [""],
        "costs": {"": COST},
        "runs": {} if wer is None else {"0": TRAINED},
        "readings": [] if wer is None else [heard],
        **changes,
    }


def results(**rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "protocol": "p",
        "size": "small",
        "sets": [],
        "seeds": [0],
        "max_steps": 30,
        "base": "base",
        "chunks": ["640 ms"],
        "chunk_ms": 640,
        "precisions": ["int8"],
        "corpora": ["all"],
        "latency": None,
        "rows": rows,
    }


BROKEN = {"outcome": "diverged", "step": 20, "of_steps": 30, "seconds": 1.0,
          "curves": {"train/ctc": [[10, 5.0], [20, None]]}}  # fmt: skip


@pytest.fixture
def report(study: ModuleType) -> ModuleType:
    return sys.modules["study_report"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (row(), "not done yet"),
        (row(runs={"0": TRAINED}), "trained, not heard yet"),
        (row(runs={"0": BROKEN}), "**diverged** at step 20"),
        (row(50.0, [1.0, -0.5, 2.5]), "no loss seen (-0.5 to +2.5)"),
        (row(50.0, [2.0, 0.5, 3.5]), "**loses 2.0** (0.5 to 3.5)"),
        (row(50.0, [-2.0, -3.5, -0.5]), "**gains 2.0** (0.5 to 3.5)"),
        (row(99.0, [2.0, 0.5, 3.5]), "**did not learn**: 99.0 % WER"),
        (row(50.0), "the baseline is not done yet"),
    ],
)
def test_the_verdict_goes_by_the_rule(report: ModuleType, values: dict[str, Any], told: str) -> None:
    assert report.verdict(values, "").startswith(told)


def test_the_page_has_every_row_and_what_is_not_done(report: ModuleType) -> None:
    control = row(claim="paper: diverges", runs={"0": BROKEN})
    given = results(base=row(40.0), one=row(50.0, [2.0, 0.5, 3.5]), control=control, open=row(),
                    again=row(of="one"))  # fmt: skip
    page = report.page(given, {"one": "Tried this and that."}, "study.png")
    assert "**3 of 5 rows are done**" in page
    assert "| base | paper: as good | 40.0 (39.0-41.0) |  | the baseline |" in page
    assert "| open | paper: as good |  |  | not done yet |" in page
    assert "Note: Tried this and that." in page
    assert "20: no number" in page
    assert page.index("| one |") < page.index("| again (another try at one) |") < page.index("| control |")


def test_the_front_is_what_nothing_undercuts(study: ModuleType) -> None:
    front = sys.modules["study_plot"].front
    points = [(1.0, 50.0, "a"), (2.0, 40.0, "b"), (2.0, 45.0, "c"), (3.0, 40.0, "d"), (4.0, 30.0, "e")]
    assert [name for *_, name in front(points)] == ["a", "b", "e"]


def test_report_needs_no_training_and_repeats_itself(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["side_by_side"], "_exit_code", None)
    page = tmp_path / "study.md"
    assert study.main(["--report", "--page", str(page)]) == 1
    page.with_suffix(".json").write_text(json.dumps(results(base=row(40.0), one=row())))
    (tmp_path / "study-notes.toml").write_text('one = "Not yet."\n')
    assert study.main(["--report", "--page", str(page)]) == 0
    first = page.read_text()
    assert "Note: Not yet." in first
    assert "![" in first
    assert page.with_suffix(".png").stat().st_size > 1000
    assert study.main(["--report", "--page", str(page)]) == 0
    assert page.read_text() == first


def test_the_page_in_docs_is_what_its_json_says(study: ModuleType, report: ModuleType) -> None:
    results = json.loads(study.json_of(study.PAGE).read_text(encoding="utf-8"))
    picture = study.PAGE.with_suffix(".png")
    notes = report.read_notes(study.PAGE.with_name("study-notes.toml"))
    assert notes.keys() <= results["rows"].keys()
    told = report.page(results, notes, picture.name if picture.exists() else None)
    assert study.PAGE.read_text(encoding="utf-8") == told


def test_curves_end_at_the_first_that_is_no_number(study: ModuleType) -> None:
    bench = sys.modules["study_bench"]
    points = [(step, 1.0 if step < 500 else math.nan) for step in range(0, 1000, 10)]
    thin = bench.thinned(points)
    assert len(thin) == bench.POINTS + 1
    assert (thin[0], thin[-2], thin[-1]) == ((0, 1.0), (490, 1.0), (500, None))


def test_a_run_broke_where_its_curves_say_or_where_it_ended(study: ModuleType, tmp_path: Path) -> None:
    diverged_at = sys.modules["study_bench"].diverged_at
    broken = {"a": [(1, 2.0, 0.0)], "b": [(5, math.inf, 0.0), (6, math.nan, 1.0)]}
    assert diverged_at(tmp_path, broken) is None  # it went on, and came to its end
    (tmp_path / "diverged.json").write_text('{"step": 9}')
    assert diverged_at(tmp_path, broken) == 5
    assert diverged_at(tmp_path, {}) == 9


def test_training_time_leaves_pauses_out(study: ModuleType) -> None:
    walls = [0.0, 10.0, 20.001, 30.0, 3030.0, 3040.0]  # stopped after the fourth
    curves = {"a": [(place, 1.0, wall) for place, wall in enumerate(walls)], "b": [(0, 1.0, 0.001)]}
    assert sys.modules["study_bench"].seconds_of(curves) == pytest.approx(40.0, abs=0.01)
    assert sys.modules["study_bench"].seconds_of({}) == 0.0
