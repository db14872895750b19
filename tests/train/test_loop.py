"""Whole runs: exact resume after a kill, checkpoints that are damaged, and data that lacks something."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from leanformer.errors import CheckpointError, ConfigError, DataError
from leanformer.train.checkpoint import latest_checkpoint, list_checkpoints, read_checkpoint
from leanformer.train.loop import train
from leanformer.train.recipe import Recipe
from leanformer.train.stopping import Interrupted

from .conftest import DATA, TINY

MakeRecipe = Callable[..., Recipe]
Differing = Callable[[Path, Path], list[str]]

# The same run in a process of its own, with a pause in every step so that a kill finds it in the middle.
CHILD = """
import json, logging, sys, time, torch
from pathlib import Path
torch.set_num_threads(1)
from lightning.pytorch.callbacks import Callback
from leanformer.config_toml import from_dict
from leanformer.train import fitting, loop
from leanformer.train.recipe import Recipe

class Slowly(Callback):
    def on_train_batch_start(self, trainer, *rest):
        print("step", trainer.global_step, flush=True)
        time.sleep(0.2)

make = fitting.make_trainer
fitting.make_trainer = lambda plan, first, callbacks: make(plan, first, [Slowly(), *callbacks])
recipe = from_dict(Recipe, json.loads(sys.argv[1]), "tiny")
loop.train(recipe, [Path(sys.argv[2])], Path(sys.argv[3]))
"""


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(Recipe.model_validate_json(json.dumps(_expanded())), [DATA], run)
    return run


def _expanded() -> dict[str, object]:
    from leanformer.config_toml import from_dict

    return from_dict(Recipe, TINY, "tiny").model_dump(mode="json", exclude_none=True)


def dev_points(run: Path) -> dict[int, float]:
    """The word error rate at each step, as TensorBoard shows it."""
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars("dev/ctc")}


def test_a_run_keeps_the_last_two_and_the_best_two(whole_run: Path) -> None:
    saved = list_checkpoints(whole_run)
    assert [one.step for one in saved[:2]] == [14, 13]
    assert 2 <= sum(one.score is not None for one in saved) <= 3
    assert len(saved) <= 4
    assert set(dev_points(whole_run)) == {3, 7, 11, 13}, (
        "at steps 4, 8, 12 and the end, which TensorBoard counts from 0"
    )


def test_a_killed_run_ends_as_if_nothing_had_happened(
    whole_run: Path, tiny: MakeRecipe, differing: Differing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
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
        if line == "step 9\n":
            break
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    newest = list_checkpoints(run)[0]
    assert newest.step == 9
    newest.path.write_bytes(newest.path.read_bytes()[:-1000])  # and the disk lost the end of it
    with caplog.at_level(logging.WARNING):
        train(tiny(), [DATA], run, resume=True)
    assert f"{newest.path} is truncated or damaged" in caplog.text
    assert differing(whole_run / "step0000013.ckpt", run / "step0000013.ckpt") == []
    assert differing(list_checkpoints(whole_run)[0].path, list_checkpoints(run)[0].path) == []
    assert dev_points(run) == dev_points(whole_run)


@pytest.mark.parametrize(
    ("moment", "saved_step"), [("in a step", 6), ("in a dev pass", 8), ("in the last dev pass", 14)]
)
def test_a_signal_saves_and_the_run_goes_on_exactly(
    whole_run: Path, tiny: MakeRecipe, differing: Differing, tmp_path: Path, moment: str, saved_step: int
) -> None:
    run = tmp_path / "stopped"
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        _send_signal_at(patch, moment, saved_step)
        if moment == "in the last dev pass":  # the run is as good as over
            train(tiny(), [DATA], run)
        else:
            with pytest.raises(Interrupted, match="SIGTERM") as raised:
                train(tiny(), [DATA], run)
            assert raised.value.signal_number == signal.SIGTERM
            assert raised.value.checkpoint == run / f"step{saved_step:07d}.ckpt"
            assert read_checkpoint(raised.value.checkpoint)["dev_pending"] == (moment == "in a dev pass")
    assert signal.getsignal(signal.SIGTERM) is handler
    train(tiny(), [DATA], run, resume=True)
    assert differing(list_checkpoints(whole_run)[0].path, list_checkpoints(run)[0].path) == []
    assert dev_points(run) == dev_points(whole_run)


def _send_signal_at(patch: pytest.MonkeyPatch, moment: str, step: int) -> None:
    from leanformer.train.module import Training

    name = "training_step" if moment == "in a step" else "validation_step"
    before = getattr(Training, name)
    waiting = [signal.SIGTERM]

    def interrupted(self: Training, batch: object, index: int) -> object:
        if waiting and self.global_step == step - (moment == "in a step"):
            os.kill(os.getpid(), waiting.pop())
        return before(self, batch, index)

    patch.setattr(Training, name, interrupted)


def test_the_control_a_run_that_draws_otherwise_differs(
    whole_run: Path, tiny: MakeRecipe, differing: Differing, tmp_path: Path
) -> None:
    shutil.copytree(whole_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "tensorboard")
    for saved in list_checkpoints(tmp_path / "run")[:1]:
        saved.path.unlink()
    recipe = tiny().model_copy(update={"seed": 1})
    train(recipe, [DATA], tmp_path / "run", resume=True)
    found = differing(list_checkpoints(whole_run)[0].path, list_checkpoints(tmp_path / "run")[0].path)
    assert any("current_model_state" in name for name in found)


def test_changes_are_shown_and_followed_when_a_run_goes_on(
    whole_run: Path, tiny: MakeRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "longer"
    shutil.copytree(whole_run, run)
    recipe = tiny(max_steps=16)
    recipe = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"peak_rate": 0.5})})
    with caplog.at_level(logging.WARNING):
        train(recipe, [DATA], run, resume=True)
    shown = [record.message for record in caplog.records]
    assert "changed since the checkpoint: optimizer.peak_rate: 0.002 -> 0.5" in shown
    assert "changed since the checkpoint: schedule.max_steps: 14 -> 16" in shown
    assert list_checkpoints(run)[0].step == 16
    stored = read_checkpoint(run / "step0000015.ckpt")
    muon, adamw = stored["optimizer_states"][0]["parts"]
    assert [part["param_groups"][0]["lr"] for part in (muon, adamw)] == [2e-3 * 1 / 4, 0.5 * 1 / 4]


def test_a_run_that_is_over_says_so(
    whole_run: Path, tiny: MakeRecipe, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        train(tiny(), [DATA], whole_run, resume=True)
    assert "nothing left to train; to go on, raise it: --set schedule.max_steps=N" in caplog.text


def test_other_weights_and_other_data_are_noticed(
    whole_run: Path, tiny: MakeRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    recipe = tiny()
    encoder = recipe.model.encoder.model_copy(update={"model_dim": 32})
    wider = recipe.model_copy(update={"model": recipe.model.model_copy(update={"encoder": encoder})})
    with pytest.raises(ConfigError, match=r"do not fit the recipe \(model.encoder.model_dim: 16 -> 32\)"):
        train(wider, [DATA], run, resume=True)
    fewer = tmp_path / "fewer"
    shutil.copytree(DATA, fewer)
    table = (fewer / "utterances.tsv").read_text().splitlines()
    (fewer / "utterances.tsv").write_text("\n".join(table[:-1]) + "\n")
    with caplog.at_level(logging.WARNING):
        train(tiny(), [fewer], run, resume=True)
    assert "the training data is not what it was (5 utterances then, 4 now)" in caplog.text


def test_resume_and_what_there_is_must_agree(whole_run: Path, tiny: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds the checkpoints of a run; add --resume"):
        train(tiny(), [DATA], whole_run)
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(tiny(), [DATA], tmp_path / "none", resume=True)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be a folder"):
        train(tiny(), [DATA], tmp_path / "file")


def test_without_dev_data_it_warns_and_goes_on(
    tiny: MakeRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tiny(max_steps=3)
    recipe = recipe.model_copy(update={"corpora": recipe.corpora.model_copy(update={"dev_split": "test"})})
    with caplog.at_level(logging.WARNING):
        best = train(recipe, [DATA], tmp_path / "run")
    assert "training goes on without dev passes" in caplog.text
    assert [saved.step for saved in list_checkpoints(tmp_path / "run")] == [3, 2]
    assert best == tmp_path / "run" / "step0000003.ckpt"


def test_nothing_to_train_on_is_an_error(tiny: MakeRecipe, tmp_path: Path) -> None:
    recipe = tiny()
    crowded = recipe.model.encoder.model_copy(
        update={"subsampling": recipe.model.encoder.subsampling.model_copy(update={"factor": 8})}
    )
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"encoder": crowded})})
    few = tmp_path / "few"
    (few / "clips").mkdir(parents=True)
    shutil.copy(DATA / "clips" / "2136-5147-0037.opus", few / "clips")
    (few / "utterances.tsv").write_text(
        "id\tspeaker\tsplit\tpath\tseconds\ttext\na\tb\tdev\tclips/2136-5147-0037.opus\t4.650\t"
        + "many words " * 20
        + "\n"
    )
    with pytest.raises(DataError, match="1 have more tokens than frames at a subsampling by 8"):
        train(recipe, [few], tmp_path / "run")


def test_a_full_disk_stops_the_run_and_harms_nothing(tiny: MakeRecipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny(max_steps=2), [DATA], run)
    kept = {saved.path: saved.path.read_bytes() for saved in list_checkpoints(run)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"step0000003\.ckpt: cannot write the checkpoint"):
            train(tiny(max_steps=5), [DATA], run, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {saved.path: saved.path.read_bytes() for saved in list_checkpoints(run)} == kept
    train(tiny(max_steps=5), [DATA], run, resume=True)
    assert latest_checkpoint(run) == list_checkpoints(run)[0].path


def test_a_run_that_diverges_ends_and_keeps_what_was_good(tiny: MakeRecipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny(max_steps=2), [DATA], run)
    good = [saved.path for saved in list_checkpoints(run)]
    recipe = tiny(max_steps=6)
    recipe = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"peak_rate": 1e38})})
    with pytest.raises(CheckpointError, match=r"step \d: the weights are no longer finite.*--resume"):
        train(recipe, [DATA], run, resume=True)
    assert [saved.path for saved in list_checkpoints(run)][-1] in good
    assert latest_checkpoint(run) is not None
    assert 2 < json.loads((run / "diverged.json").read_text())["step"] <= 6
    for saved in list_checkpoints(run):  # finite still, but as large as numbers get
        if saved.path not in good:
            saved.path.unlink()
    train(tiny(max_steps=6), [DATA], run, resume=True)
    assert not (run / "diverged.json").exists()


def test_no_thread_and_no_handler_is_left_after_an_error(tiny: MakeRecipe, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _send_signal_at(patch, "in a step", 1)
        with pytest.raises(Interrupted) as raised:
            train(tiny(), [DATA], tmp_path / "run")
    assert raised.value.__traceback__ is not None, "which holds on to everything that was in use"
    assert not [thread for thread in threading.enumerate() if thread.name == "batches"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
