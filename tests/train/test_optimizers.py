"""Which optimiser trains which parameter, and that several act as one."""

from __future__ import annotations

import copy

import pytest
import torch

from leanformer.config import BlockConfig, EncoderConfig, ModelConfig
from leanformer.model import SpeechModel
from leanformer.train.optimizers import Together, make_optimizer
from leanformer.train.recipe import MuonConfig, OptimizerConfig


@pytest.fixture
def model() -> SpeechModel:
    torch.manual_seed(0)
    block = BlockConfig(ffn_dim=12, kernel_size=3)
    return SpeechModel(ModelConfig(vocabulary_size=5, encoder=EncoderConfig(model_dim=8, blocks=(block,))))


def learn(model: SpeechModel, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Make steps with gradients that depend on nothing but the step and the parameter's place."""
    for step in range(steps):
        for place, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(1000 * step + place)
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("muon", [None, MuonConfig()])
def test_every_parameter_is_trained_once_and_vectors_do_not_decay(
    model: SpeechModel, muon: MuonConfig | None
) -> None:
    optimizer = make_optimizer(model, OptimizerConfig(muon=muon))
    trained = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in model.parameters())
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert (group["weight_decay"] > 0) == (parameter.dim() > 1)


def test_muon_trains_the_matrices_of_the_blocks(model: SpeechModel) -> None:
    optimizer = make_optimizer(model, OptimizerConfig(muon=MuonConfig()))
    assert isinstance(optimizer, Together)
    by_muon = {id(p) for group in optimizer.parts[0].param_groups for p in group["params"]}
    named = {name for name, p in model.named_parameters() if id(p) in by_muon}
    assert "encoder.blocks.0.sublayers.1.inner.query_key_value.weight" in named
    assert not any("output" in name or "subsampling" in name or "depthwise" in name for name in named)


def test_a_restored_optimiser_goes_on_as_the_stored_one(model: SpeechModel) -> None:
    config = OptimizerConfig(muon=MuonConfig())
    optimizer = make_optimizer(model, config)
    learn(model, optimizer, 3)
    twin = copy.deepcopy(model)
    restored = make_optimizer(twin, config)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    learn(model, optimizer, 2)
    learn(twin, restored, 2)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_rate_set_on_the_whole_reaches_the_parts(model: SpeechModel) -> None:
    config = OptimizerConfig(weight_decay=0.0, muon=MuonConfig(weight_decay=0.0))
    optimizer = make_optimizer(model, config)
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = copy.deepcopy(model)
    learn(model, optimizer, 1)
    for one, other in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(one, other)
