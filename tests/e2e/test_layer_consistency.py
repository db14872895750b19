"""The study of layer consistency as one command, at toy size: stopped and gone on with; its tables and its verdicts."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leanformer.export import export as export_module
from leanformer.export.graph import export_step

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
Command = Callable[..., int]
HEAD = ("model.phone_head.depth=2", "model.phone_head.condition=false")


@pytest.fixture(autouse=True, scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The modules beside the command can be imported; decoded audio lies in a folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        torch.set_num_threads(1)
        yield


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command at toy size, with some phones of the recordings of tests/data; gives its exit code."""
    names = [line.split("\t")[0] for line in (DATA / "utterances.tsv").read_text().splitlines()[1:]]
    phones = [[("AA", "S", "SIL")[place % 3], 7 * place, 7] for place in range(30)]
    lines = "".join(json.dumps({"id": f"data/{name}", "phones": phones}) + "\n" for name in names)
    (tmp_path / "phones.jsonl").write_text(lines)
    loader = SourceFileLoader("layer_consistency", str(ROOT / "benchmarks" / "layer_consistency"))
    spec = spec_from_loader("layer_consistency", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)

    def run(*arguments: str) -> int:
        given = ["--toy", "--data", str(DATA), "--alignments", str(tmp_path / "phones.jsonl")]
        told = ["layer_consistency", *given, "--folder", str(tmp_path / "study"), *arguments]
        monkeypatch.setattr(sys, "argv", told)
        code: int = module.main()
        return code

    return run


@pytest.fixture
def quick_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """One traced graph, with the weights of the first, for all models of a shape: a trace takes seconds.

    No test here asks how well these hear, and that a graph does what its model does is tested in tests/export.
    """
    traced: dict[tuple[int, int], Any] = {}

    def trace(step: Any) -> Any:
        encoder = step.model.config.encoder
        shape = (encoder.depth, len(encoder.blocks))
        if shape not in traced:
            traced[shape] = export_step(step)
        return traced[shape]

    monkeypatch.setattr(export_module, "export_step", trace)
    monkeypatch.setattr(export_module, "require_passed", lambda checks: None)


@pytest.mark.usefixtures("quick_traces")
def test_the_study_goes_on_where_it_was_stopped(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    second_half = importlib.import_module("layer_finetuning")
    arguments = ("--labels", "0.002", "--json", str(tmp_path / "all.json"))
    with monkeypatch.context() as patch:
        patch.setattr(second_half, "export", _stopped)
        assert command(*arguments) == 130
    said = capsys.readouterr()
    assert said.out == ""
    assert "fine-tuning shared, random depth, 0.002 h" in said.err
    assert "give the same command again" in said.err

    assert command(*arguments, "--rows", "untrained") == 0, capsys.readouterr().err[-600:]
    said = capsys.readouterr()
    assert said.out == ""
    assert "fine-tuning untrained" in said.err
    assert "fine-tuning shared" not in said.err

    assert command(*arguments) == 0, capsys.readouterr().err[-600:]
    said = capsys.readouterr()
    assert "fine-tuning untrained" not in said.err  # --rows has made it
    assert "pre-training" not in said.err.replace("pre-training pays", "")
    assert "fine-tuning shared, random depth" not in said.err
    for part in ("| unshared | 0 |", "times fewer parameters: **", "pre-training pays", "| untrained | 2 |"):
        assert part in said.out
    found = json.loads((tmp_path / "all.json").read_text())
    assert {(one["row"], one["depth"]) for one in found["heard"]} == {
        (row["name"], depth) for row in found["analyses"] for depth in (1, 2)
    }
    assert len({one["parameters"] for one in found["analyses"]}) == 2
    assert len(found["verdicts"]) == 4

    assert command(*arguments, "--page", str(tmp_path / "page.md")) == 0, capsys.readouterr().err[-600:]
    again = capsys.readouterr()
    assert again.out == said.out
    assert "fine-tuning" not in again.err
    page = (tmp_path / "page.md").read_text()
    assert said.out.strip() in page
    assert "Pre-training: 3 steps of 8 s" in page
    assert "labelled speech, 0.002 h: 3 steps of 8 s, CTC on tokens of kind `char`" in page
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("page.png", "page-alike.png"))
    assert json.loads((tmp_path / "page.json").read_text()) == found


def _stopped(*given: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--depths", "0", "2"), "--depths 0: the encoders have layers 1 to 2; name some of these"),
        (("--depths", "3"), "--depths 3: the encoders have layers 1 to 2"),
        (
            ("--depths", "1", "--set-finetuning", *HEAD),
            "--depths 1: below the phone head, at layer 2, no words are taught; name 2 to 2",
        ),
        (("--set-finetuning", "model.phone_head.depth=2"), "phone_head.depth 2 is the last layer"),
        (("--rows", "shared"), "--rows 'shared': expected some of 'shared, random depth', 'unshared'"),
        (("--labels", "some"), '--labels some: expected hours above 0, or "all"'),
        (("--labels", "-1"), "--labels -1: expected hours above 0"),
        (("--set-pretraining", "optimizer.peak_rat=1"), "did you mean `peak_rate`?"),
        (("--set-finetuning", "optimizer.peak_rat=1"), "did you mean `peak_rate`?"),
    ],
)
def test_mistakes_are_one_line_before_any_work(
    arguments: tuple[str, ...],
    message: str,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(*arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("layer_consistency: error: ")
    assert said.count("\n") == 1
    assert message in said
    assert not (tmp_path / "study").exists()


def test_a_difference_is_narrower_than_two_intervals() -> None:
    paired = importlib.import_module("paired")
    hard = np.arange(40)
    base = paired.Counted.of(hard, np.full(40, 100), np.arange(40) // 2)
    one = paired.Counted.of(hard + 2, np.full(40, 100), np.arange(40) // 2)
    assert paired.difference(one, base) == pytest.approx((2.0, 2.0, 2.0))
    low, high = base.interval
    assert low < base.rate - 2
    assert high > base.rate + 2
    assert one.complement.rate == pytest.approx(100 - one.rate)


def findings(main_wer: dict[int, int], base_wer: int, saved: dict[int, float]) -> Any:
    """Of one seed: word errors of twenty clips of 100 words, by depth, and probes that are alike at every depth."""
    finetuning, reports, rows = (
        importlib.import_module(name) for name in ("layer_finetuning", "layer_report", "layer_rows")
    )
    clips = [str(place) for place in range(20)]

    def heard(row: str, depth: int, wer: int) -> Any:
        errors = [wer + place % 5 - 2 for place in range(20)]
        return finetuning.Heard(
            row, "1 h", 0, depth, ["c"] * 20, clips, errors, [100] * 20, errors, [100] * 20
        )

    def analysis(row: str, parameters: int) -> dict[str, Any]:
        depths = [{"depth": depth, "wrong": [30 + place % 5 for place in range(20)]} for depth in main_wer]
        probe = {"depths": depths, "test": [100] * 20, "units": list(range(20))}
        return {"name": row, "seed": 0, "parameters": parameters, "probe": probe}

    full = max(main_wer)
    return reports.Findings(
        [analysis(rows.MAIN.name, 1), analysis(rows.BASE.name, 10)],
        {rows.MAIN.name: {1: 0.3, 2: 0.7}, rows.FULL.name: {2: 0.9}, rows.BASE.name: {2: 1.0}},
        [
            *(heard(rows.MAIN.name, depth, wer) for depth, wer in main_wer.items()),
            heard(rows.BASE.name, full, base_wer),
            heard(rows.UNTRAINED.name, full, 90),
        ],
        {
            rows.MAIN.name: {depth: reports.Cost(1 - share / 100, 1.0) for depth, share in saved.items()},
            rows.BASE.name: {full: reports.Cost(1.0, 1.0)},
        },
    )


SAVED = {4: 60.0, 7: 40.0, 12: 0.0}


@pytest.mark.parametrize(
    ("main_wer", "base_wer", "met", "why"),
    [
        ({4: 60, 7: 40, 12: 40}, 40, True, "40.0 % at depth 7, the least"),
        ({4: 60, 7: 50, 12: 40}, 40, False, "0.0 % at depth 12, the least"),
        ({4: 60, 7: 50, 12: 45}, 40, False, "no such depth exists"),
        ({4: 90, 7: 90, 12: 90}, 97, None, "get 97.0 % of words wrong themselves"),
    ],
)
def test_the_least_depth_on_a_par_decides(
    main_wer: dict[int, int], base_wer: int, met: bool | None, why: str
) -> None:
    reports = importlib.import_module("layer_report")
    found = findings(main_wer, base_wer, SAVED)
    parameters, training, inference, pays = reports.verdicts(found)
    assert (parameters.met, training.met) == (True, True)
    assert "10.0 times fewer" in parameters.why
    assert "44.4 % of a step of all shared layers, 50.0 % of one of unshared" in training.why
    assert inference.met is met
    assert why in inference.why
    assert pays.met is (None if main_wer[12] == 90 else True)
