"""`leanformer pretrain`: what it says, and the command shown after Ctrl-C goes on."""

from __future__ import annotations

import logging
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from leanformer.cli.app import main
from leanformer.train.checkpoint import list_checkpoints

DATA = Path(__file__).parents[1] / "data"
RECIPE = """
name = "tiny"
depths = [1, 2]
[encoder]
model_dim = 16
subsampling = { channels = 4 }
blocks = [{ ffn_dim = 16, kernel_size = 5, attention = { heads = 2 } }]
layer_map = [0, 0]
[objective]
codes = 32
[audio]
splits = ["dev"]
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
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "a.wav").write_bytes(b"no sound")
    logger = logging.getLogger("leanformer")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield tmp_path
    logger.handlers, logger.level, logger.propagate = before
    logging.getLogger("leanformer.data.corpora").setLevel(logging.NOTSET)


def test_a_run_says_what_it_does_and_what_comes_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "tiny.toml"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    for part in (
        "audio: 5 of 5 recordings, 0.01 h",
        "2 layers of 16 in 1 blocks, of which 1 to 2 run in a step",
        "objective: best_rq",
        "run: runs/tiny, 3 steps",
        "masked_accuracy",
        "step 3/3  dev: loss ",
    ):
        assert part in shown.err
    assert "Warning" not in shown.err
    best, following = shown.err.splitlines()[-2:]
    path = best.removeprefix("best model: ")
    assert "-loss" in path
    assert following == f"next: leanformer train RECIPE.toml --from {path}"


def test_ctrl_c_saves_and_the_command_shown_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from leanformer.pretrain.module import Pretraining

    step, waiting = Pretraining.training_step, [signal.SIGINT]

    def interrupted(self: Pretraining, batch: object, index: int) -> object:
        if waiting and self.global_step == 1:
            os.kill(os.getpid(), waiting.pop())
        return step(self, batch, index)  # type: ignore[arg-type]

    monkeypatch.setattr(Pretraining, "training_step", interrupted)
    assert main(["pretrain", "tiny.toml", "--set", "schedule.dev_every_steps=5"]) == 130
    line = capsys.readouterr().err.splitlines()[-1]
    command = shlex.split(line.removeprefix("to go on: "))
    assert command[:2] == ["leanformer", "pretrain"]
    assert [saved.step for saved in list_checkpoints(Path("runs/tiny"))] == [2]
    assert main(command[1:]) == 0
    assert "resuming from runs/tiny/step0000002.ckpt, step 2 of 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml"], "none.toml: no such"),
        (["tiny.toml", "--set", "depths=[1, 3]"], "depths goes up to 3, but the encoder has 1 to 2 layers"),
        (["tiny.toml", "--set", "maskin.fill=zero"], "did you mean `masking`?"),
        (["tiny.toml", "--data", "nowhere"], "nowhere: no such"),
        (["tiny.toml", "--resume"], "runs/tiny: nothing to resume"),
        (
            ["tiny.toml", "--data", "noise", "--set", 'audio.splits=["train"]'],
            "skipped 1 without readable audio",
        ),
        (["tiny.toml", "--set", "masking.span_frames=500"], "none of 5 recordings lasts"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", *arguments]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("leanformer: error: ")]
    assert len(errors) == 1
    assert message in errors[0]
