"""`leanformer export`: what it says, and what it says of bad input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from leanformer.cli.app import main


def test_it_reports_its_stages(run) -> None:  # type: ignore[no-untyped-def]
    assert run.code == 0, run.said
    assert run.said.splitlines() == [
        "tracing the model ...",
        "quantising ...",
        "verifying on 5 recordings ...",
    ]


def test_force_and_the_table(
    checkpoint: Path,
    tmp_path: Path,
    without_tracing: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "bundle"
    assert main(["export", str(checkpoint), "-o", str(target), "--no-fp32"]) == 0
    printed = capsys.readouterr().out
    assert "torch offline - fp32 graph streaming" in printed
    assert "nodes in int8" in printed.splitlines()[-1]
    assert main(["export", str(checkpoint), "-o", str(target)]) == 1
    assert "there is a bundle already; add --force" in capsys.readouterr().err
    assert main(["export", str(checkpoint), "-o", str(target), "--force"]) == 0
    assert (target / "model.fp32.onnx").exists()


Arguments = Callable[[Path, Path], list[str]]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (lambda c, t: [str(t / "gone.ckpt")], 1, "gone.ckpt: no such checkpoint"),
        (lambda c, t: [str(t)], 1, "no usable checkpoint"),
        (lambda c, t: [str(c), "--chunk-ms", "100"], 1, "multiples of 80 ms"),
        (lambda c, t: [str(c), "--chunk-ms", "0"], 2, "Must be >= 1"),
        (lambda c, t: [str(c), "--left-context", "0"], 2, "Must be >= 1"),
        (lambda c, t: [str(c), "--metrics", str(t / "gone.json")], 1, "gone.json: cannot be read"),
        (lambda c, t: [str(c), "--metrics", __file__], 1, "not valid JSON"),
        (lambda c, t: [str(c), "--data", str(t / "gone.wav")], 1, "gone.wav"),
        (lambda c, t: [str(c), "--data", "-"], 2, "name recordings or folders"),
    ],
)
def test_bad_input_is_one_clear_line(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: Arguments,
    code: int,
    message: str,
) -> None:
    given = arguments(checkpoint, tmp_path)
    assert main(["export", *given, "-o", str(tmp_path / "bundle")]) == code
    said = capsys.readouterr().err
    assert said.startswith("leanformer: error: ")
    assert said.count("\n") == 1
    assert message in said
    assert not (tmp_path / "bundle").exists()


def test_a_missing_extra_is_named(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith("leanformer.export.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "bundle")]) == 1
    assert "onnxscript is not installed" in capsys.readouterr().err
