"""What cannot be fused is refused by its place, in one line."""

from __future__ import annotations

import copy

import pytest
from fusible import make

from leanformer.compress.fuse import fuse
from leanformer.config import BlockConfig, EncoderConfig, ModelConfig
from leanformer.errors import CompressError
from leanformer.layers.convolution import Convolution
from leanformer.layers.normalization import BatchNorm, LayerNorm
from leanformer.model import SpeechModel


def refusal(model: SpeechModel) -> str:
    with pytest.raises(CompressError) as caught:
        fuse(model)
    return str(caught.value)


def test_training_mode_is_refused_of_any_part() -> None:
    model = make()
    assert refusal(copy.deepcopy(model).train()).startswith("the model is in training mode")
    model.encoder.blocks[1].get_submodule("sublayers.2").train()
    assert refusal(model).startswith("encoder.blocks.1.sublayers.2 is in training mode")


@pytest.mark.parametrize(
    ("norm", "said"),
    [
        ("layer", "encoder.blocks.0.sublayers.0.norm is a LayerNorm, which is no fixed change of weights"),
        (
            "batch_in_place",
            "encoder.blocks.0.sublayers.0.norm is a BatchNorm that does not follow a linear layer",
        ),
        ("none", 'nothing to fuse: no layer has a BatchNorm (encoder.norm = "none")'),
    ],
)
def test_other_norms_are_refused_by_their_place(norm: str, said: str) -> None:
    message = refusal(make({"norm": norm}))
    assert message.startswith(said)
    assert "train" in message
    assert "\n" not in message


def test_one_norm_that_cannot_be_fused_is_enough() -> None:
    model = make()
    model.encoder.blocks[1].norm = LayerNorm(8).eval()
    assert refusal(model).startswith("encoder.blocks.1.norm is a LayerNorm")
    model.encoder.blocks[1].norm = BatchNorm(8).eval()
    assert refusal(model).startswith("encoder.blocks.1.norm is a BatchNorm that does not follow")


def test_a_fused_model_is_not_fused_again() -> None:
    assert refusal(fuse(make())).startswith("nothing to fuse")


@pytest.mark.parametrize("value", [float("nan"), -1.0])
def test_broken_statistics_are_named(value: float) -> None:
    model = make()
    broken = model.encoder.blocks[0].get_submodule("sublayers.2.inner")
    assert isinstance(broken, Convolution)
    broken.norm.get_buffer("variance")[3] = value
    assert refusal(model).startswith(
        "encoder.blocks.0.sublayers.2.inner.norm: fusing it gives weights that are NaN"
    )


def test_a_model_that_its_config_does_not_describe_is_refused() -> None:
    model = make()
    model.config = ModelConfig(
        vocabulary_size=11, encoder=EncoderConfig(model_dim=8, blocks=(BlockConfig(),), norm="batch")
    )
    assert refusal(model).startswith("the model is not what its config builds")
