"""CTC and a transducer learn on one encoder, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from leanformer.config_toml import from_dict
from leanformer.errors import ConfigError
from leanformer.layers.streaming import Context
from leanformer.model import Outputs, SpeechModel
from leanformer.text.tokenizer import Tokenizer, train_tokenizer
from leanformer.train.checkpoint import list_checkpoints, load_trained
from leanformer.train.dev_errors import DevErrors
from leanformer.train.loop import train
from leanformer.train.losses import losses
from leanformer.train.objective import ctc_loss
from leanformer.train.recipe import Recipe

from .conftest import DATA, TINY
from .test_second_pass import SECOND

CONTEXT = Context(4, 8)
TRANSDUCER = {"predictor_dim": 8, "joint_dim": 8}


def recipe(steps: int = 3, second: bool = False, **objective: Any) -> Recipe:
    model = TINY["model"] | {"transducer": TRANSDUCER} | ({"second": SECOND} if second else {})
    schedule = {"max_steps": steps, "dev_every_steps": steps, "checkpoint_minutes": 0}
    return from_dict(Recipe, {**TINY, "model": model, "objective": objective, "schedule": schedule}, "tiny")


@pytest.fixture(scope="module")
def model() -> SpeechModel:
    torch.manual_seed(0)
    return SpeechModel(recipe(second=True).model).eval()


@pytest.fixture(scope="module")
def out(model: SpeechModel) -> Outputs:
    x, lengths = torch.randn(2, 80, 80), torch.tensor([80, 64])
    with torch.no_grad():
        return model.train_outputs(x, lengths, CONTEXT)


def by_name(model: SpeechModel, out: Outputs, **objective: Any) -> dict[str, float]:
    targets, lengths = torch.tensor([[3, 4, 5], [6, 0, 0]]), torch.tensor([3, 1])

    def ctc(log_probs: torch.Tensor) -> torch.Tensor:
        return ctc_loss(log_probs, out.lengths, targets, lengths)

    found = losses(model, out, targets, lengths, recipe(second=True, **objective).objective, ctc)
    return {one.name: one.weight for one in found}


def test_weights_say_which_losses_there_are(model: SpeechModel, out: Outputs) -> None:
    both = {"ctc": 1.0, "second": 1.0, "transducer": 1.0, "second_transducer": 1.0}
    assert by_name(model, out) == both
    assert by_name(model, out, ctc_weight=0.5, second_weight=0.5) == {
        "ctc": 0.5,
        "second": 0.25,
        "transducer": 1.0,
        "second_transducer": 0.5,
    }
    assert by_name(model, out, ctc_weight=0.0) == {"transducer": 1.0, "second_transducer": 1.0}
    assert by_name(model, out, transducer_weight=0.0, second_weight=0.0) == {"ctc": 1.0}


def test_a_model_without_any_output_is_refused() -> None:
    with pytest.raises(ConfigError, match="ctc_weight"):
        recipe(ctc_weight=0.0, transducer_weight=0.0)


def test_a_run_trains_both_and_measures_both(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(recipe(steps=12), [DATA], run)
    events = EventAccumulator(str(next((run / "tensorboard").rglob("events*")))).Reload()
    assert {"dev/ctc", "dev/transducer", "dev_wer/ctc", "dev_wer/transducer"} <= set(events.Tags()["scalars"])
    before, after = SpeechModel(recipe().model), load_trained(list_checkpoints(run)[0].path).model
    for name in ("transducer.predictor.places", "transducer.predictor.norm.weight"):  # begin as constants
        assert not torch.equal(after.state_dict()[name], before.state_dict()[name]), name


def test_the_encoder_hears_the_transducer() -> None:
    torch.manual_seed(0)
    alone = SpeechModel(recipe(ctc_weight=0.0).model)
    x, lengths = torch.randn(1, 80, 80), torch.tensor([80])
    result = alone.train_outputs(x, lengths, CONTEXT)
    assert alone.transducer is not None
    assert result.encoded is not None
    alone.transducer.loss(
        result.encoded, result.lengths, torch.tensor([[3, 4]]), torch.tensor([2])
    ).backward()
    gradient = alone.encoder.subsampling.project.weight.grad
    assert gradient is not None
    assert gradient.any()
    assert alone.output.weight.grad is None


@pytest.fixture
def tokenizer() -> Tokenizer:
    return train_tokenizer(["ab ba", "abba baba"], 8, "char")


def test_word_errors_are_counted_by_decoder_and_pass(
    model: SpeechModel, out: Outputs, tokenizer: Tokenizer
) -> None:
    counted = DevErrors(model, tokenizer, with_ctc=True)
    said = tokenizer.encode("ab ba")
    targets = torch.tensor([said, said])
    path = [said[0], *said]  # the first token lasts two frames
    wanted = torch.zeros(2, out.log_probs.shape[1], len(tokenizer))
    wanted[:, :, 0] = 0.5
    wanted[0, torch.arange(len(path)), torch.tensor(path)] = 1.0
    right = Outputs(wanted, out.lengths, None, encoded=out.encoded)
    counted.add(right, targets, torch.tensor([len(said), 0]))
    rates = counted.take()
    assert rates["ctc"] == 0.0
    assert set(rates) == {"ctc", "transducer"}
    assert next(iter(rates)) == "ctc"
    assert counted.take() == {}
