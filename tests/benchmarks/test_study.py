"""The study as a command: rows are trained, heard and reported once, and go on where they stopped."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from leanformer.train.checkpoint import load_trained, read_checkpoint

Command = Callable[..., int]


def test_two_rows_from_training_to_the_page(
    study: ModuleType,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("--only", "conformer", "performer-swap") == 0
    results = json.loads((tmp_path / "study.json").read_text())
    base, swap = (results["rows"][name] for name in ("conformer", "performer-swap"))
    for row in (base, swap):
        assert row["runs"]["0"]["outcome"] == "trained"
        heard = {(one["chunk"], one["precision"]) for one in row["readings"]}
        assert heard == {(chunk, kind) for chunk in ("320 ms", "640 ms", "full") for kind in ("int8", "fp32")}
    assert results["corpora"] == ["data", "all"]
    assert base["readings"][0]["corpora"]["data"]["gap"] is None
    assert len(swap["readings"][0]["corpora"]["data"]["gap"]) == 3
    assert sorted(results["latency"]["rows"]) == ["conformer", "performer-swap"]
    assert results["latency"]["rows"]["conformer"][""]["int8"] > 0
    assert "**2 of 28 rows are done**" in (tmp_path / "study.md").read_text()

    (swapped,) = (tmp_path / "study" / "swapped").glob("*.ckpt")
    begun, (trained,) = read_checkpoint(swapped), (tmp_path / "study" / "runs").glob("conformer-*")
    weights = load_trained(trained).model.state_dict()
    assert [name for name in weights if begun["state_dict"][f"model.{name}"].ne(weights[name]).any()] == []
    assert begun["recipe"]["model"]["encoder"]["blocks"][0]["attention"]["kind"] == "performer"

    # All of it is done: nothing runs again, and another row waits when the time is over.
    monkeypatch.setattr(sys.modules["side_by_side"], "_exit_code", _never)
    before = (tmp_path / "study.md").read_text()
    assert command("--only", "conformer", "performer-swap") == 0
    assert command("--minutes", "0") == 0
    assert "left for another time: fusionformer (0), no-norm (0)" in capsys.readouterr().err
    assert (tmp_path / "study.md").read_text() == before
    assert command("--list") == 0
    listed = capsys.readouterr().out
    assert "2 of 28 done" in listed
    states = [line.split()[:3] for line in listed.splitlines()]
    assert states[:2] == [["conformer", "0", "heard"], ["fusionformer", "0", "open"]]


def _never(command: Sequence[str]) -> int:
    raise AssertionError(f"it should not run: {command}")


def test_a_run_that_diverges_is_a_result(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = "optimizer.peak_rate=1e30", "optimizer.muon.peak_rate=1e30"
    wild = "schedule.max_steps=25", "schedule.dev_every_steps=25", *rates
    assert command("--only", "no-norm", sets=wild) == 0
    results = json.loads((tmp_path / "study.json").read_text())
    run = results["rows"]["no-norm"]["runs"]["0"]
    assert run["outcome"] == "diverged"
    assert "**diverged** at step" in (tmp_path / "study.md").read_text()
    monkeypatch.setattr(sys.modules["side_by_side"], "_exit_code", _never)
    assert command("--only", "no-norm", sets=wild) == 0


def test_a_row_that_fails_does_not_stop_the_others(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def fail(arguments: Sequence[str]) -> int:
        tried.append(next(one for one in arguments if one.startswith("name=")))
        return 1

    monkeypatch.setattr(sys.modules["side_by_side"], "_exit_code", fail)
    assert command("--only", "shared", "fold2-all") == 1
    assert tried == ["name=shared", "name=fold2-all"]
    assert "failed, and tried again next time: shared, seed 0; fold2-all, seed 0" in capsys.readouterr().err
    assert "**0 of 28 rows are done**" in (tmp_path / "study.md").read_text()


@pytest.mark.parametrize("code", [130, -2])
def test_an_interruption_ends_the_study(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    tried: list[Sequence[str]] = []
    monkeypatch.setattr(sys.modules["side_by_side"], "_exit_code", lambda one: tried.append(one) or code)
    assert command("--only", "shared", "fold2-all") == 130
    assert len(tried) == 1
    assert (tmp_path / "study.md").exists()


def test_an_unknown_row_is_refused(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--only", "nonsense") == 2
    assert "no row nonsense; there are conformer, fusionformer" in capsys.readouterr().err


@pytest.mark.parametrize(("signal_name", "code"), [("SIGINT", 7), ("SIGTERM", -signal.SIGTERM)])
def test_a_signal_is_for_the_command_to_obey(study: ModuleType, signal_name: str, code: int) -> None:
    # Ctrl-C reaches both, and the command may save what it has; SIGTERM is passed on.
    told = f"import os, signal, sys, time; time.sleep(0.5); os.kill(os.getppid(), signal.{signal_name}); "
    wait = "sys.exit(7)" if signal_name == "SIGINT" else "time.sleep(60)"
    assert study.run_apart([sys.executable, "-c", told + wait]) == code
