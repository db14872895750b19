"""Random depth and losses at exits: what is drawn, what runs, and that a run goes on exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from leanformer.config_toml import from_dict
from leanformer.errors import ConfigError
from leanformer.model import Outputs, SpeechModel
from leanformer.train.checkpoint import list_checkpoints
from leanformer.train.loop import train
from leanformer.train.module import Training
from leanformer.train.objective import ctc_loss, exits_loss
from leanformer.train.recipe import Recipe, drawable_depths
from leanformer.train.schedule import draw_context, draw_depth

from .conftest import DATA, TINY

STEPS = 7


def make(objective: dict[str, Any], model: dict[str, Any] | None = None, **encoder: Any) -> Recipe:
    model = TINY["model"] | (model or {})
    blocks = [{"ffn_dim": 16, "kernel_size": 5, "attention": {"heads": 2}}]
    model["encoder"] = model["encoder"] | {"blocks": blocks, "layer_map": [0, 0, 0, 0]} | encoder
    values = TINY | {
        "model": model,
        "objective": objective,
        "corpora": TINY["corpora"] | ({"alignments": ["a.jsonl"]} if "phone_head" in model else {}),
        "optimizer": TINY["optimizer"] | {"warmup_steps": 1, "decay_steps": 1},
        "schedule": {"max_steps": STEPS, "dev_every_steps": 100, "checkpoint_minutes": 0},
    }
    return from_dict(Recipe, values, "tiny")


# What is drawn.


def test_depths_are_drawn_uniformly_and_by_seed_and_step() -> None:
    depths = (1, 2, 5)
    drawn = [draw_depth(depths, 3, step) for step in range(3000)]
    assert set(drawn) == set(depths)
    assert all(900 < count < 1100 for count in Counter(drawn).values())
    assert drawn[:50] == [draw_depth(depths, 3, step) for step in range(50)]
    assert drawn[:50] != [draw_depth(depths, 4, step) for step in range(50)]


def test_the_depth_does_not_follow_the_context() -> None:
    context = make({}).context.model_copy(update={"full_probability": 0.0})
    both = Counter(
        (draw_depth((1, 2), 0, step), draw_context(context, 0, step, 9).chunk_size) for step in range(3000)
    )
    assert len(both) == 6
    assert all(400 < count < 600 for count in both.values())


@pytest.mark.parametrize(
    ("model", "encoder", "depths", "for_text"),
    [
        ({}, {}, (1, 2, 3, 4), (1, 2, 3, 4)),
        ({}, {"exits": [2]}, (2, 4), (2, 4)),
        ({"exit_heads": "own"}, {"exits": [1, 3]}, (1, 3, 4), (1, 3, 4)),
        ({"phone_head": {"depth": 2}}, {}, (2, 3, 4), (3, 4)),
        ({"phone_head": {"depth": 2}}, {"exits": [1, 2]}, (2, 4), (4,)),
    ],
)
def test_depths_are_those_of_outputs_from_the_phone_head_on(
    model: dict[str, Any], encoder: dict[str, Any], depths: tuple[int, ...], for_text: tuple[int, ...]
) -> None:
    config = make({"sample_depth": True}, model, **encoder).model
    assert drawable_depths(config) == depths
    assert drawable_depths(config, above_phones=True) == for_text


@pytest.mark.parametrize(
    ("objective", "model", "encoder", "said"),
    [
        ({"exit_weight": 0.3}, {}, {}, "exit_weight needs model.encoder.exits below"),
        ({"sample_depth": True}, {"exit_heads": "own"}, {}, "has nothing to draw but depth 4"),
        ({"sample_depth": True}, {}, {"final_projection": "own"}, "has nothing to draw but depth 4"),
        (
            {"sample_depth": True},
            {"phone_head": {"depth": 3}},
            {"exits": [2]},
            "has nothing to draw but depth 4",
        ),
        ({}, {"exit_heads": "own"}, {"exits": [2, 3]}, "exits at 2, 3 have outputs of their own"),
        ({}, {}, {"exits": [2], "final_projection": "own"}, "exits at 2 have outputs of their own"),
    ],
)
def test_what_would_have_no_effect_or_train_nothing_is_refused(
    objective: dict[str, Any], model: dict[str, Any], encoder: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        make(objective, model, **encoder)


# What runs.


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, set[int]]]:
    """For each training step the depth that ran, and the exits below it that had a loss."""
    seen: list[tuple[int, set[int]]] = []
    before = SpeechModel.train_outputs

    def watching(model: SpeechModel, *arguments: Any) -> Outputs:
        ran: list[int] = []
        hooks = [
            block.register_forward_hook(lambda *_: ran.append(1))
            for block in {id(model.encoder.block_at(d)): model.encoder.block_at(d) for d in range(4)}.values()
        ]
        outputs = before(model, *arguments)
        for hook in hooks:
            hook.remove()
        if model.training:
            seen.append((len(ran), set(outputs.exits)))
        return outputs

    monkeypatch.setattr(SpeechModel, "train_outputs", watching)
    return seen


def test_only_the_layers_drawn_are_run(watched: list[tuple[int, set[int]]], tmp_path: Path) -> None:
    recipe = make({"sample_depth": True})
    train(recipe, [DATA], tmp_path / "run")
    drawn = [draw_depth((1, 2, 3, 4), recipe.seed, step) for step in range(STEPS)]
    assert [depth for depth, _ in watched] == drawn
    assert len(set(drawn)) > 2
    assert all(not exits for _, exits in watched)


def test_all_layers_run_unless_they_are_sampled(watched: list[tuple[int, set[int]]], tmp_path: Path) -> None:
    train(make({}), [DATA], tmp_path / "run")
    assert watched == [(4, set())] * STEPS


def test_exits_below_the_depth_drawn_have_their_losses(
    watched: list[tuple[int, set[int]]], tmp_path: Path
) -> None:
    heads = {"exit_heads": "own"}
    train(make({"sample_depth": True, "exit_weight": 0.3}, heads, exits=[1, 3]), [DATA], tmp_path / "run")
    assert {depth for depth, _ in watched} == {1, 3, 4}
    assert all(exits == {exit for exit in (1, 3) if exit < depth} for depth, exits in watched)


def test_the_loss_adds_the_weighted_mean_of_the_exits() -> None:
    def loss_of(objective: dict[str, Any]) -> tuple[float, float, dict[str, Tensor]]:
        recipe = make(objective, exits=[1, 2])
        torch.manual_seed(0)
        training = Training(SpeechModel(recipe.model), recipe, tokenizer=None)  # type: ignore[arg-type]
        batch: Any = type("Batch", (), {})()
        batch.waveforms, batch.lengths = torch.randn(2, 16_000) / 10, torch.tensor([16_000, 12_000])
        batch.targets, batch.target_lengths = torch.tensor([[3, 4, 5], [6, 7, 0]]), torch.tensor([3, 2])
        batch.phones = None
        torch.manual_seed(0)
        loss, logs = training._audio_loss(batch)
        return loss.item(), logs["train/ctc"].item(), logs

    plain, ctc, logs = loss_of({})
    assert plain == pytest.approx(ctc)
    assert "train/exits" not in logs
    total, same_ctc, logs = loss_of({"exit_weight": 0.5})
    assert same_ctc == pytest.approx(ctc)
    assert total == pytest.approx(ctc + 0.5 * logs["train/exits"].item())
    assert logs["train/exits"].item() > 0.0


def test_the_loss_of_exits_is_their_mean() -> None:
    lengths, targets, target_lengths = (
        torch.tensor([6, 4]),
        torch.tensor([[1, 2], [3, 0]]),
        torch.tensor([2, 1]),
    )
    exits = {depth: torch.randn(2, 6, 5).log_softmax(dim=-1) for depth in (1, 4)}
    expected = [ctc_loss(log_probs, lengths, targets, target_lengths) for log_probs in exits.values()]
    out = Outputs(torch.zeros(2, 6, 5), lengths, None, exits)
    assert torch.allclose(exits_loss(out, targets, target_lengths), sum(expected) / 2)


# A run goes on exactly.


@pytest.mark.parametrize("norm_per_depth", [False, True])
def test_a_run_with_random_depths_resumes_exactly(
    differing: Callable[[Path, Path], list[str]], tmp_path: Path, norm_per_depth: bool
) -> None:
    """And the dev pass in between, which swaps weights and averages, leaves both as they were."""
    recipe = make({"sample_depth": True}, norm="batch", norm_per_depth=norm_per_depth, activation="relu")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(recipe, [DATA], whole)
    short = recipe.schedule.model_copy(update={"max_steps": 3, "dev_every_steps": 2})
    train(recipe.model_copy(update={"schedule": short}), [DATA], parts)
    train(recipe, [DATA], parts, resume=True)
    found = differing(list_checkpoints(whole)[0].path, list_checkpoints(parts)[0].path)
    assert [name for name in found if not name.startswith("/recipe/schedule")] == []
