"""A run in stages: phones alone, then text alone, then speech and text together, each training its own layers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from leanformer.config_toml import from_dict
from leanformer.data.phones import PHONES
from leanformer.train.checkpoint import list_checkpoints, read_checkpoint
from leanformer.train.loop import train
from leanformer.train.recipe import Recipe

from .conftest import DATA, TINY

PHONES_ONLY, TEXT_ALONE, TOGETHER = (2, 4), (4, 7), (7, 9)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> dict[int, dict[str, torch.Tensor]]:
    """The weights after each step of one run."""
    folder = tmp_path_factory.mktemp("stages")
    rows = [line.split("\t") for line in (DATA / "utterances.tsv").read_text().splitlines()[1:]]
    # Every phone in turn, 60 ms each: not what is said, but enough for a bank with all of them.
    spoken = [[name, 6 * place, 6] for place, name in enumerate(PHONES)]
    aligned = [json.dumps({"id": f"{DATA.name}/{row[0]}", "phones": spoken}) for row in rows]
    (folder / "aligned.jsonl").write_text("\n".join(aligned))
    (folder / "text.txt").write_text("the cat sat on the mat\na dog ran to the red house\n" * 5)
    values: dict[str, Any] = {
        **TINY,
        "model": {**TINY["model"], "phone_head": {"depth": 1, "hide_audio": 0.5}},
        "corpora": {"train_split": "dev", "alignments": [str(folder / "aligned.jsonl")]},
        "objective": {"ctc_start_step": TOGETHER[0]},
        "text": {
            "files": [str(folder / "text.txt")],
            "start_step": TEXT_ALONE[0],
            "alone_steps": TEXT_ALONE[1] - TEXT_ALONE[0],
            "placed_steps": 1,
            "clear_steps": 4,
            "rows": 2,
            "frames": 60,
        },
        "schedule": {"max_steps": TOGETHER[1], "dev_every_steps": 1, "checkpoint_minutes": 0},
    }
    kept: dict[int, dict[str, torch.Tensor]] = {}
    run = folder / "run"
    for step in range(PHONES_ONLY[0], TOGETHER[1] + 1):
        values["schedule"]["max_steps"] = step
        train(from_dict(Recipe, values, "stages"), [DATA], run, resume=step > PHONES_ONLY[0])
        kept[step] = read_checkpoint(list_checkpoints(run)[0].path)["current_model_state"]
    return kept


@pytest.mark.parametrize(
    ("stage", "trained", "still"),
    [
        (
            PHONES_ONLY,
            ["subsampling", "blocks.0", "phone_head.classify"],
            ["blocks.1", "output", "condition"],
        ),
        (TEXT_ALONE, ["blocks.1", "output", "phone_head.condition"], ["subsampling", "blocks.0", "classify"]),
        (TOGETHER, ["subsampling", "blocks.0", "blocks.1", "output", "phone_head.hear"], []),
    ],
    ids=["phones only", "text alone", "together"],
)
def test_a_stage_trains_its_own_layers(
    weights: dict[int, dict[str, torch.Tensor]], stage: tuple[int, int], trained: list[str], still: list[str]
) -> None:
    before, after = weights[stage[0]], weights[stage[1]]
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    for part in trained:
        assert any(part in name for name in changed), part
    for part in still:
        assert not any(part in name for name in changed), part
