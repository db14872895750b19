"""Counters made from the step, and an optimiser that follows the recipe."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch

from leanformer.errors import CheckpointError
from leanformer.train.restart import Restart, counters


def fresh() -> dict[str, Any]:
    trainer = lightning.Trainer(max_steps=9, accelerator="cpu", logger=False, enable_checkpointing=False)
    return copy.deepcopy(trainer.fit_loop.state_dict())


def test_counters_stand_at_the_step() -> None:
    made = counters(fresh(), 7, 4, dev_pending=False)
    assert made["epoch_loop.batch_progress"]["total"] == dict.fromkeys(
        ("ready", "started", "processed", "completed"), 7
    )
    assert made["epoch_loop.state_dict"]["_batches_that_stepped"] == 7
    assert made["epoch_loop.val_loop.batch_progress"]["total"]["started"] == 0


def test_a_dev_pass_is_begun_again_only_if_it_is_due_and_pending() -> None:
    begun = [
        counters(fresh(), step, 4, pending)["epoch_loop.val_loop.batch_progress"]["total"]["started"]
        for step, pending in ((8, True), (8, False), (7, True))
    ]
    assert begun == [1, 0, 0]


def test_another_lightning_is_an_error() -> None:
    changed = fresh()
    del changed["epoch_progress"]
    with pytest.raises(CheckpointError, match="no counter 'epoch_progress'"):
        counters(changed, 7, 4, dev_pending=False)


def optimizer_with(rate: float, decay: float) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    groups = [
        {"params": [torch.nn.Parameter(torch.ones(2))], "weight_decay": decay},
        {"params": [torch.nn.Parameter(torch.ones(2))], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (1 + step))


def test_the_optimiser_follows_the_recipe_of_now() -> None:
    before, schedule_before = optimizer_with(1.0, 0.1)
    for _ in range(3):
        before.step()
        schedule_before.step()
    now, schedule = optimizer_with(2.0, 0.2)
    trainer = SimpleNamespace(optimizers=[now], lr_scheduler_configs=[SimpleNamespace(scheduler=schedule)])
    restart = Restart(4)
    restart.on_fit_start(trainer, None)
    now.load_state_dict(before.state_dict())
    schedule.load_state_dict(schedule_before.state_dict())
    assert now.param_groups[0]["lr"] == 0.25, "what a checkpoint alone would give"
    restart.on_train_start(trainer, None)
    assert [(g["lr"], g["weight_decay"]) for g in now.param_groups] == [(0.5, 0.2), (0.5, 0.0)]
    schedule.step()
    assert now.param_groups[0]["lr"] == 2.0 / 5
