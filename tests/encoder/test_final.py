"""The projection between the last layer and whatever reads the encoder."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leanformer.config import EncoderConfig, ModelConfig
from leanformer.config_toml import from_dict
from leanformer.encoder.encoder import Encoder
from leanformer.errors import ConfigError
from leanformer.layers.linear import Linear
from leanformer.layers.normalization import BatchNorm
from leanformer.layers.streaming import Context
from leanformer.model import NUM_BINS, SpeechModel

CONTEXT = Context(4, 8)
LENGTHS = torch.tensor([24, 17])


def config(**values: Any) -> EncoderConfig:
    block = {"ffn_dim": 12, "kernel_size": 3}
    base = {"model_dim": 8, "subsampling": {"channels": 3}, "blocks": [block] * 2, "norm": "batch"}
    return from_dict(EncoderConfig, base | values, "test")


def run(encoder: Encoder) -> tuple[Tensor, dict[int, Tensor]]:
    """The encoder's output, and those of its layers."""
    torch.manual_seed(1)
    for module in encoder.modules():
        if isinstance(module, BatchNorm):
            module.mean.normal_()
    x = torch.randn(2, 24, NUM_BINS)
    with torch.no_grad():
        y, _, _ = encoder.eval()(x, LENGTHS, encoder.initial_state(2, CONTEXT))
        layers, _, _ = encoder.forward_exits(x, LENGTHS, encoder.initial_state(2, CONTEXT))
    return y, layers


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "own"),
        ({"exits": [1]}, "own"),
        ({"layer_map": [0, 1, 0]}, "shared"),
        ({"layer_map": [0, 1, 0], "final_projection": "own"}, "own"),
        ({"norm": "layer"}, "none"),
        ({"norm": "none"}, "none"),
        ({"norm": "batch_in_place"}, "none"),
        ({"norm": "none", "final_projection": "shared"}, "shared"),
        ({"final_projection": "none"}, "none"),
    ],
)
def test_is_there_exactly_with_batch_unless_asked_for(values: dict[str, Any], expected: str) -> None:
    made = config(**values)
    assert made.final_projection == expected
    counts = {"none": 0, "shared": 1, "own": len(made.exits)}
    assert len(Encoder(made, NUM_BINS).final.exits) == counts[expected]


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_the_output_is_the_last_layers_through_linear_and_norm(kind: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder(config(final_projection=kind), NUM_BINS)
    y, layers = run(encoder)
    (projection,) = encoder.final.exits.values()
    assert isinstance(projection, Linear)
    assert isinstance(projection.norm, BatchNorm)
    norm, lengths = projection.norm, torch.tensor([6, 5])
    expected = norm(nn.functional.linear(layers[2], projection.weight), lengths)
    torch.testing.assert_close(y, expected)
    assert not torch.allclose(y, layers[2], atol=0.1)


def test_without_one_the_output_is_the_last_layers() -> None:
    y, layers = run(Encoder(config(final_projection="none"), NUM_BINS))
    assert torch.equal(y, layers[2])


def test_exits_have_their_own_or_share_one() -> None:
    torch.manual_seed(0)
    x, lengths = torch.randn(2, 6, 8), torch.tensor([6, 5])
    with torch.no_grad():
        for kind, same in (("own", False), ("shared", True)):
            final = Encoder(config(exits=[1], final_projection=kind), NUM_BINS).eval().final
            assert torch.equal(final(x, lengths, 1), final(x, lengths, 2)) == same


def test_a_depth_that_is_no_exit_has_none_of_its_own() -> None:
    final = Encoder(config(), NUM_BINS).final
    with pytest.raises(ConfigError, match=r'no final projection at depth 1: .* which are 2; .* "shared"'):
        final(torch.zeros(1, 1, 8), torch.tensor([1]), 1)


@torch.no_grad()
def test_a_model_trains_on_what_it_gives_out() -> None:
    torch.manual_seed(0)
    model = SpeechModel(ModelConfig(vocabulary_size=5, encoder=config(exits=[1]))).eval()
    x = torch.randn(2, 24, NUM_BINS)
    found, _, _ = model(x, LENGTHS, model.initial_state(2, CONTEXT))
    out = model.train_outputs(x, LENGTHS, CONTEXT, with_exits=True)
    assert torch.equal(out.log_probs, found)
    layers, lengths, _ = model.encoder.forward_exits(x, LENGTHS, model.initial_state(2, CONTEXT))
    expected = model.output(model.encoder.final.exits["1"](layers[1], lengths)).log_softmax(dim=-1)
    torch.testing.assert_close(out.exits[1], expected)
