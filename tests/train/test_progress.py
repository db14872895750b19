"""What a person sees of a run."""

from __future__ import annotations

import io
import logging
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from leanformer.train import progress
from leanformer.train.curves import Curves
from leanformer.train.progress import Bar, Figures, Lines, Monitor, duration
from leanformer.train.quiet import quietly

FIGURES = Figures(
    max_steps=11_000,
    step=200,
    metrics={"loss": 5.8213, "gradient_norm": 3.6871, "phone_accuracy": 0.1712},
    rate=7.5e-4,
    times_real_time=187.4,
    seconds_left=3080.0,
    dev={"ctc": 5.4, "wer": 0.98912},
    best=0.98,
    best_step=100,
)


def test_lines_are_tidy() -> None:
    assert FIGURES.train_line() == (
        "step   200/11000  loss 5.821  gradient_norm 3.687  phone_accuracy 0.1712  rate 7.5e-04  "
        "187x real time  51 min left"
    )
    assert FIGURES.dev_line() == "step   200/11000  dev: WER 98.9%, ctc 5.400 (best 98.0% at step 100)"


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (89, "89 s"), (91, "2 min"), (5300, "88 min"), (7500, "2 h 05 min")]
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_a_bar_shows_where_the_run_stands() -> None:
    output = io.StringIO()
    bar = Bar(Console(file=output, force_terminal=True, width=140, color_system=None))
    bar.start(Figures(max_steps=11_000))
    bar.dev(FIGURES)
    bar.stop()
    for part in ("200/11000", "loss 5.821", "dev WER 98.9% (best 98.0%)", "187x real time", "51 min left"):
        assert part in output.getvalue()
    assert FIGURES.dev_line() in output.getvalue()


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def step(monitor: Monitor, trainer: Any, module: Any, seconds: float, clock: Clock) -> None:
    clock.now += seconds
    trainer.global_step += 1
    batch = SimpleNamespace(lengths=torch.tensor([16_000 * 10, 16_000 * 30]))
    monitor.on_train_batch_end(trainer, module, None, batch, 0)


def test_speed_leaves_dev_passes_out_and_the_end_does_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, monitor = Clock(monkeypatch), Monitor(Lines())
    logged: dict[str, float] = {}
    optimizer = SimpleNamespace(param_groups=[{"lr": 1e-3}])
    trainer = SimpleNamespace(global_step=0, max_steps=40, callback_metrics={}, optimizers=[optimizer])
    module = SimpleNamespace(log=logged.__setitem__)
    monitor.on_train_start(trainer, module)
    step(monitor, trainer, module, 1.0, clock)
    monitor.on_validation_start(trainer, module)
    clock.now += 18.0
    trainer.callback_metrics = {
        "dev_wer": torch.tensor(0.5),
        "dev/ctc": torch.tensor(2.0),
        "loss": torch.tensor(3.0),
    }
    with caplog.at_level(logging.INFO):
        monitor.on_validation_end(trainer, module)
        step(monitor, trainer, module, 1.0, clock)
    assert logged == {"train/times_real_time": 40.0}
    assert (
        caplog.messages
        == [
            "step  1/40  dev: WER 50.0%, ctc 2.000 (best 50.0% at step 1)",
            "step  2/40  loss 3.000  rate 1.0e-03  40x real time  6 min left",  # 38 steps, 10 s each with the dev pass
        ]
    )


def test_lightning_is_quiet_and_others_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    lightning_log = logging.getLogger("lightning.pytorch")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with quietly():
            assert not lightning_log.isEnabledFor(logging.INFO)
            assert lightning_log.isEnabledFor(logging.WARNING)
            warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated, use something else", stacklevel=1)
            warnings.warn("the loss is not finite", stacklevel=1)
    assert [str(one.message) for one in caught] == ["the loss is not finite"]
    assert lightning_log.isEnabledFor(logging.INFO)


def test_curves_that_cannot_be_written_end_no_run(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    curves = Curves(tmp_path)
    curves.log_metrics({"a": 1.0}, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(curves.experiment), "add_scalar", full)
    with caplog.at_level(logging.WARNING):
        curves.log_metrics({"a": 1.0}, 2)
        curves.log_metrics({"a": 1.0}, 3)
    assert caplog.messages == [
        f"{curves.log_dir}: cannot write TensorBoard's curves (No space left on device); going on without"
    ]
