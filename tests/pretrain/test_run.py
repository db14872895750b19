"""Whole runs: what is logged, exact resume after a kill, depth sampling, fine-tuning, and audio that is no good."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from leanformer.errors import CheckpointError, ConfigError, DataError
from leanformer.pretrain.model import PretrainModel
from leanformer.pretrain.module import Pretraining
from leanformer.pretrain.run import pretrain
from leanformer.train.checkpoint import best_checkpoint, list_checkpoints, load_trained, read_checkpoint
from leanformer.train.schedule import draw_depth

from .conftest import DATA, ENCODER, TINY, recipe

# The same run in a process of its own, with a pause in every step so that a kill finds it in the middle.
CHILD = """
import json, sys, time, torch
from pathlib import Path
torch.set_num_threads(1)
from leanformer.config_toml import from_dict
from leanformer.pretrain.module import Pretraining
from leanformer.pretrain.recipe import PretrainRecipe
from leanformer.pretrain.run import pretrain

step = Pretraining.training_step
def slowly(self, *batch):
    print("step", self.global_step, flush=True)
    time.sleep(0.2)
    return step(self, *batch)
Pretraining.training_step = slowly
pretrain(from_dict(PretrainRecipe, json.loads(sys.argv[1]), "tiny"), [Path(sys.argv[2])], Path(sys.argv[3]))
"""


def differences(one: Path, other: Path) -> list[str]:
    """Names of the tensors in which two checkpoints differ, in any bit: weights, averages, optimiser."""
    found = []
    contents = [read_checkpoint(path) for path in (one, other)]
    for part in ("state_dict", "current_model_state"):
        a, b = (content[part] for content in contents)
        assert a.keys() == b.keys()
        found += [name for name in a if not torch.equal(a[name], b[name])]
    states = [content["optimizer_states"][0]["state"] for content in contents]
    for key, first in states[0].items():
        found += [f"{key}/{k}" for k, v in first.items() if not torch.equal(v, states[1][key][k])]
    return found


def test_a_run_logs_loss_accuracy_depth_and_codebook_use(whole_run: Path) -> None:
    events = EventAccumulator(str(whole_run / "tensorboard"))
    events.Reload()
    names = {"train/loss", "train/masked_accuracy", "train/codes_used", "train/perplexity", "train/depth"}
    assert names <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("dev_loss")] == [3, 7]
    assert {"dev/masked_accuracy", "dev/codes_used", "dev/perplexity"} <= set(events.Tags()["scalars"])
    loss = events.Scalars("dev_loss")[-1].value
    assert list_checkpoints(whole_run)[0].path.name == f"step0000008-loss{loss:.4f}.ckpt"


def test_a_killed_run_ends_as_if_nothing_had_happened(whole_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(TINY), str(DATA), str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line == "step 5\n":
            break
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert list_checkpoints(run)[0].step == 5
    pretrain(recipe(), [DATA], run, resume=True)
    assert differences(list_checkpoints(whole_run)[0].path, list_checkpoints(run)[0].path) == []


def test_the_control_another_seed_gives_another_run(whole_run: Path, tmp_path: Path) -> None:
    shutil.copytree(whole_run, tmp_path / "run")
    list_checkpoints(tmp_path / "run")[0].path.unlink()
    pretrain(recipe(seed=1), [DATA], tmp_path / "run", resume=True)
    assert differences(list_checkpoints(whole_run)[0].path, list_checkpoints(tmp_path / "run")[0].path)


def test_each_step_runs_as_many_layers_as_seed_and_step_say(tmp_path: Path) -> None:
    ran: list[int] = []
    encode = PretrainModel.encode

    def noting(self: PretrainModel, *given: Any) -> Any:
        if self.training:
            ran.append(given[3])
        return encode(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PretrainModel, "encode", noting)
        pretrain(recipe(), [DATA], tmp_path / "sampled")
        assert ran == [draw_depth((1, 2, 3), 0, step) for step in range(8)]
        assert len(set(ran)) > 1
        ran.clear()
        pretrain(recipe(depths=None), [DATA], tmp_path / "full")
        assert ran == [3] * 8


@pytest.mark.parametrize("kind", ["best_rq", "reconstruction"])
def test_it_learns_what_is_hidden(kind: str, tmp_path: Path) -> None:
    losses: list[float] = []
    step = Pretraining.training_step

    def noting(self: Pretraining, *given: Any) -> torch.Tensor:
        loss = step(self, *given)
        losses.append(loss.item())
        return loss

    longer = {**TINY["optimizer"], "peak_rate": 1e-2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pretraining, "training_step", noting)
        changes: dict[str, Any] = {"objective": {"kind": kind}, "optimizer": longer, "depths": [3, 3]}
        changes["schedule"] = {"max_steps": 40, "dev_every_steps": 100}
        if kind == "best_rq":
            changes["objective"] |= {"codes": 8, "code_dim": 4}
        pretrain(recipe(**changes), [DATA], tmp_path / "run")
    assert np.mean(losses[-5:]) < 0.93 * np.mean(losses[:5])


def test_a_pretrained_encoder_is_no_recogniser_and_its_run_is_not_one_of_train(whole_run: Path) -> None:
    from leanformer.train.loop import train
    from leanformer.train.recipe import Recipe

    best = best_checkpoint(whole_run)
    assert best is not None
    with pytest.raises(CheckpointError, match=r"of `leanformer pretrain`.*fine-tune it"):
        load_trained(best)
    with pytest.raises(CheckpointError, match="is of `leanformer pretrain`; go on with that"):
        train(Recipe(name="x"), [DATA], whole_run, resume=True)


def test_names_are_those_of_a_speech_model(whole_run: Path) -> None:
    from leanformer.config import EncoderConfig, ModelConfig
    from leanformer.config_toml import from_dict
    from leanformer.model import SpeechModel

    best = best_checkpoint(whole_run)
    assert best is not None
    stored = read_checkpoint(best)["state_dict"]
    model = SpeechModel(ModelConfig(encoder=from_dict(EncoderConfig, ENCODER, "tiny")))
    wanted = {
        name: value.shape for name, value in model.state_dict().items() if not name.startswith("output")
    }
    assert wanted == {
        name.removeprefix("model."): value.shape
        for name, value in stored.items()
        if ".objective." not in name
    }


def tones(folder: Path, seconds: float, count: int = 3) -> Path:
    folder.mkdir()
    for number in range(count):
        noise = 0.1 * np.random.default_rng(number).standard_normal(int(seconds * 16000))
        soundfile.write(folder / f"{number}.wav", noise, 16000)
    return folder


def test_any_folder_of_audio_will_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tones(tmp_path / "audio", 2.0)
    (folder / "broken.wav").write_bytes(b"no sound")
    (folder / "notes.md").write_text("not audio")
    soundfile.write(folder / "short.wav", np.zeros(3000), 16000)
    changes = {"audio": {}, "schedule": {"max_steps": 2}}
    with caplog.at_level(logging.INFO):
        pretrain(recipe(**changes), [folder], tmp_path / "run")
    assert "training goes on without dev passes" in caplog.text
    assert "1 recordings are shorter than 0.46 s, too short to mask a span: left out" in caplog.text
    assert "audio: 3 of 4 recordings" in caplog.text
    assert "skipped 1 without readable audio" in caplog.text


def test_audio_that_is_no_good_is_an_error(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"audio": {}}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no corpus here nor below.*recordings alone"):
        pretrain(recipe(**changes), [tmp_path / "empty"], tmp_path / "run")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match="skipped 1 without readable audio"):
        pretrain(recipe(**changes), [tmp_path / "bad"], tmp_path / "run")
    short = tones(tmp_path / "short", 0.3)
    with pytest.raises(
        DataError, match=r"none of 3 recordings lasts 0\.46 s.*lower masking\.span_frames from 10"
    ):
        pretrain(recipe(**changes), [short], tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": [1, 4]}, "depths goes up to 4, but the encoder has 1 to 3 layers"),
        ({"depths": [0, 3]}, "greater than 0"),
        ({"depths": [3, 1]}, "should be a range"),
        ({"encoder": {**ENCODER, "exits": [2]}}, "encoder.exits allows outputs only at 2, 3"),
        ({"objective": {"kind": "best_rq", "code": 3}}, "did you mean `codes`"),
        ({"audio": {"splits": []}}, "at least one split"),
        ({"optimizer": {"freeze_norms_step": 3}}, "freeze_norms_step is of `train`"),
    ],
)
def test_a_recipe_that_cannot_be_run_says_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(**changes)
