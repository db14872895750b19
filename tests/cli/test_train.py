"""`leanformer train`: exit codes, one-line errors, and a run stopped with Ctrl-C that goes on."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leanformer.cli.app import main
from leanformer.train.checkpoint import list_checkpoints, load_trained

DATA = Path(__file__).parents[1] / "data"
RECIPE = """
name = "tiny"
[model.encoder]
model_dim = 16
subsampling = { channels = 4 }
blocks = [{ ffn_dim = 16, kernel_size = 5, attention = { heads = 2 } }]
[corpora]
train_split = "dev"
[tokenizer]
kind = "char"
[schedule]
max_steps = 3
dev_every_steps = 2
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a recipe to work in; logging as it was, afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LEANFORMER_DATA", str(DATA))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    logger = logging.getLogger("leanformer")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield tmp_path
    logger.handlers, logger.level, logger.propagate = before
    logging.getLogger("leanformer.data.corpora").setLevel(logging.NOTSET)


def test_a_run_says_what_it_does_and_what_comes_next(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "tiny.toml", "--set", "optimizer.peak_rate=1e-3", "optimizer.warmup_steps=2"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    for part in (
        "train: 5 utterances, 0.01 h, at speeds 1, 0.9, 1.1",
        "dev: 5 utterances",
        "thousand parameters, 1 layers of 16, subsampling by 4",
        "run: runs/tiny, 3 steps",
        "step 3/3  loss ",
        "step 3/3  dev: WER ",
    ):
        assert part in shown.err
    assert "Lightning" not in shown.err
    assert "Warning" not in shown.err
    best, following = shown.err.splitlines()[-2:]
    path = Path(best.removeprefix("best model: "))
    assert load_trained(path).recipe.optimizer.warmup_steps == 2
    assert following == f"next: leanformer export {path} -o bundles/tiny"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml"], "none.toml: no such"),
        (
            ["tiny.toml", "--set", "optimizer.peak_rat=1"],
            "unknown key `optimizer.peak_rat`; did you mean `peak_rate`?",
        ),
        (["tiny.toml", "--set", "peak_rate"], "--set peak_rate: expected KEY=VALUE"),
        (
            ["tiny.toml", "--set", "corpora.train_split=test"],
            "nothing to use in split 'test' (splits found: dev)",
        ),
        (["tiny.toml", "--data", "nowhere"], "nowhere: no such"),
        (["tiny.toml", "--resume"], "runs/tiny: nothing to resume"),
        (["tiny.toml", "--from", "nowhere"], "nowhere: no such"),
        (["tiny.toml", "--init-from", "nowhere"], "nowhere: no such"),
        (["tiny.toml", "--set", "batch.max_seconds=1"], "none of 5 utterances lasts 0.1 to 1.0 s"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("leanformer: error: ")]
    assert len(errors) == 1
    assert message in errors[0]


def test_ctrl_c_saves_and_the_command_shown_goes_on(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "tiny.toml", "--set", "schedule.max_steps=500", "schedule.dev_every_steps=1000"]
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from leanformer.cli.app import main; sys.exit(main())",
            *arguments,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert child.stderr is not None
    lines = []
    for line in child.stderr:
        lines.append(line)
        if "  loss " in line:
            child.send_signal(signal.SIGINT)
            break
    lines += child.stderr.readlines()
    assert child.wait() == 130
    (saved,) = list_checkpoints(workplace / "runs" / "tiny")
    assert lines[-2] == f"stopped by SIGINT; saved runs/tiny/{saved.path.name}\n"
    command = shlex.split(lines[-1].removeprefix("to go on: "))
    assert command == ["leanformer", *arguments, "-o", "runs/tiny", "--resume"]

    command.insert(command.index("-o"), f"schedule.max_steps={saved.step + 1}")
    assert main(command[1:]) == 0
    assert (
        f"resuming from runs/tiny/{saved.path.name}, step {saved.step} of {saved.step + 1}"
        in capsys.readouterr().err
    )
    assert list_checkpoints(workplace / "runs" / "tiny")[0].step == saved.step + 1
