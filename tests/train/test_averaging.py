"""The moving average: its formula, its place in dev passes and in checkpoints."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from leanformer.train.averaging import Averaging

DECAY, START = 0.75, 2


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("count", torch.tensor(0))


def set_all(model: Model, value: float) -> None:
    with torch.no_grad():
        model.weight.fill_(value)
        model.mean.fill_(value)
        model.count.fill_(int(value))


def after_steps(values: list[float]) -> tuple[Averaging, Model]:
    averaging, model = Averaging(DECAY, START), Model()
    averaging.on_train_start(None, model)
    for step, value in enumerate(values, 1):
        set_all(model, value)
        averaging.on_train_batch_end(SimpleNamespace(global_step=step), model, None, None, 0)
    return averaging, model


def test_follows_the_weights_and_then_averages_them() -> None:
    averaging, model = after_steps([1.0, 2.0, 6.0, 6.0])
    averaging.on_validation_epoch_start(None, model)
    expected = 0.75 * (0.75 * 2.0 + 0.25 * 6.0) + 0.25 * 6.0
    assert model.weight.tolist() == [expected] * 3
    assert model.mean.tolist() == [expected] * 2
    assert model.count.item() == 6, "whole numbers are not averaged"
    averaging.on_validation_epoch_end(None, model)
    assert model.weight.tolist() == [6.0] * 3


def test_an_early_dev_pass_sees_the_weights() -> None:
    # Lightning's own callback shows the initial ones until averaging starts.
    averaging, model = after_steps([5.0])
    averaging.on_validation_epoch_start(None, model)
    assert model.weight.tolist() == [5.0] * 3


def test_a_checkpoint_holds_both_whichever_is_in_place() -> None:
    averaging, model = after_steps([1.0, 2.0, 6.0])
    for _ in range(2):
        stored: dict[str, Any] = {"state_dict": model.state_dict()}
        averaging.on_save_checkpoint(None, model, stored)
        assert stored["state_dict"]["weight"].tolist() == [3.0] * 3
        assert stored["current_model_state"]["weight"].tolist() == [6.0] * 3
        averaging.on_validation_epoch_start(None, model)


def test_comes_back_from_a_checkpoint() -> None:
    averaging, model = after_steps([1.0, 2.0, 6.0])
    stored: dict[str, Any] = {"state_dict": model.state_dict()}
    averaging.on_save_checkpoint(None, model, stored)

    restored, other = Averaging(DECAY, START), Model()
    other.load_state_dict(stored["state_dict"])  # what Lightning does first
    restored.on_load_checkpoint(None, other, stored)
    restored.on_train_start(None, other)
    assert other.weight.tolist() == [6.0] * 3
    restored.on_validation_epoch_start(None, other)
    assert other.weight.tolist() == [3.0] * 3
    assert other.count.item() == 6


def test_a_tensor_of_two_names_is_averaged_and_swapped_once() -> None:
    averaging, model = Averaging(DECAY, 0), Model()
    model.again = nn.Module()
    model.again.weight = model.weight
    averaging.on_train_start(None, model)
    set_all(model, 4.0)
    averaging.on_train_batch_end(SimpleNamespace(global_step=1), model, None, None, 0)
    for _ in range(2):
        averaging.on_validation_epoch_start(None, model)
        assert model.weight.tolist() == [1.0] * 3
        averaging.on_validation_epoch_end(None, model)
        assert model.weight.tolist() == [4.0] * 3
    stored: dict[str, Any] = {"state_dict": model.state_dict()}
    averaging.on_save_checkpoint(None, model, stored)
    assert stored["state_dict"]["weight"] is stored["state_dict"]["again.weight"]
