"""Shared layers with norms of their own: what is one tensor, what is not, and that it stays so."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leanformer.config import (
    BlockConfig,
    EncoderConfig,
    FoldConfig,
    PerformerAttentionConfig,
    SubsamplingConfig,
)
from leanformer.encoder.encoder import Encoder
from leanformer.encoder.sharing import OWN
from leanformer.layers.normalization import BatchNorm, LayerNorm
from leanformer.layers.streaming import Context

BINS, DIM = 6, 8
CONTEXT = Context(2, 4)
LENGTHS = torch.tensor([24, 17])
BLOCK = BlockConfig(ffn_dim=12, kernel_size=3, fold=FoldConfig(factor=2))
LINEAR = BlockConfig(ffn_dim=12, kernel_size=3, attention=PerformerAttentionConfig(heads=2, features=3))
LAYER_MAP = (0, 1, 0, 1)

every_norm = pytest.mark.parametrize("norm", ["layer", "batch", "batch_in_place"])


def make(norm: Any = "layer", per_depth: bool = True, layer_map: tuple[int, ...] = LAYER_MAP) -> Encoder:
    config = EncoderConfig(
        model_dim=DIM,
        subsampling=SubsamplingConfig(channels=3),
        blocks=(BLOCK, LINEAR),
        layer_map=layer_map,
        exits=(1, 2, 3),
        norm=norm,
        norm_per_depth=per_depth,
        dropout=0.0,
    )
    torch.manual_seed(0)
    return Encoder(config, BINS)


@torch.no_grad()
def exits_of(encoder: Encoder) -> dict[int, Tensor]:
    x = torch.randn(2, 24, BINS, generator=torch.Generator().manual_seed(1))
    return encoder.forward_exits(x, LENGTHS, encoder.initial_state(2, CONTEXT))[0]


def norms_of(module: nn.Module) -> list[Any]:
    return [m for m in module.modules() if isinstance(m, BatchNorm | LayerNorm)]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def ties(encoder: Encoder) -> set[tuple[str, str]]:
    """Pairs of names, depth 0's and depth 2's, that are one parameter."""
    first, third = (dict(encoder.block_at(depth).named_parameters()) for depth in (0, 2))
    return {(one, other) for one, p in first.items() for other, q in third.items() if p is q}


@every_norm
def test_every_norm_is_a_depths_own_and_nothing_else_is(norm: str) -> None:
    encoder, shared = make(norm), make(norm, per_depth=False)
    norms = len(norms_of(shared.blocks[0]))
    assert norms == {"layer": 6, "batch": 9, "batch_in_place": 6}[norm]
    assert count(encoder) == count(shared) + sum(count(module) for module in norms_of(shared.blocks))
    for first in (0, 1):
        for name, module in encoder.block_at(first).named_modules():
            again = encoder.block_at(first + 2).get_submodule(name)
            for tensor, other in zip(tensors(module), tensors(again), strict=True):
                assert (tensor is other) != isinstance(module, OWN)


def tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


@every_norm
def test_with_equal_norms_it_is_the_shared_encoder(norm: str) -> None:
    encoder, shared = make(norm).eval(), make(norm, per_depth=False).eval()
    encoder.subsampling.load_state_dict(shared.subsampling.state_dict())
    for depth in range(4):
        encoder.block_at(depth).load_state_dict(shared.block_at(depth).state_dict())
    found, expected = exits_of(encoder), exits_of(shared)
    assert all(torch.equal(found[depth], expected[depth]) for depth in (1, 2, 3, 4))


def test_a_norm_acts_at_its_own_depth() -> None:
    encoder = make().eval()
    before = exits_of(encoder)
    for norm in norms_of(encoder.block_at(2)):
        nn.init.constant_(norm.weight, 0.5)
    after = exits_of(encoder)
    assert torch.equal(after[1], before[1])
    assert torch.equal(after[2], before[2])
    assert not torch.allclose(after[3], before[3], atol=1e-3)


def test_gradients_of_all_depths_meet_in_one_parameter() -> None:
    encoder = make()
    x = torch.randn(2, 24, BINS)
    outputs, _, _ = encoder.forward_exits(x, LENGTHS, encoder.initial_state(2, CONTEXT))
    torch.autograd.backward(outputs[4].square().sum())
    parameters = list(encoder.parameters())
    assert len({id(p) for p in parameters}) == len(parameters)
    assert all(p.grad is not None for p in parameters)


@pytest.mark.parametrize("way", ["deepcopy", "file", "double"])
def test_ties_survive(way: str) -> None:
    encoder = make("batch")
    expected = ties(encoder)
    assert expected
    match way:
        case "deepcopy":
            other = copy.deepcopy(encoder)
        case "file":
            stored = io.BytesIO()
            torch.save(encoder.state_dict(), stored)
            stored.seek(0)
            other = make("batch")
            nn.init.normal_(next(other.blocks[0].parameters()))
            other.load_state_dict(torch.load(stored))
        case _:
            other = copy.deepcopy(encoder).double()
    assert ties(other) == expected
    assert count(other) == count(encoder)
    encoder.eval()
    other.float().eval()
    assert torch.equal(exits_of(other)[4], exits_of(encoder)[4])
    with torch.no_grad():
        dict(other.block_at(2).named_parameters())["sublayers.0.inner.inner.expand.weight"].zero_()
    assert not torch.allclose(exits_of(other)[1], exits_of(encoder)[1], atol=1e-3)


# BatchNorm in shared layers.


def test_one_batch_norm_for_a_shared_block_learns_from_all_its_depths() -> None:
    encoder = make("batch", per_depth=False, layer_map=(0, 1, 0))
    norm = norms_of(encoder.blocks[0])[0]
    seen: list[Tensor] = []
    norm.register_forward_hook(lambda module, arguments, output: seen.append(arguments[0].clone()))
    exits_of(encoder.train())
    assert len(seen) == 2
    mean = torch.zeros_like(norm.mean)
    lengths = (LENGTHS + 3) // 4 * 2  # folded by 2
    for x in seen:
        valid = torch.cat([row[:length] for row, length in zip(x, lengths.tolist(), strict=True)])
        mean = mean.lerp(valid.mean(dim=0), norm.momentum)
    assert torch.allclose(norm.mean, mean, atol=1e-6)


def test_batch_norms_per_depth_hold_the_statistics_of_their_own_depth() -> None:
    """As those of a stack whose layers are not tied, but happen to be equal."""
    encoder = make("batch").train()
    config = encoder.config.model_copy(
        update={"blocks": (BLOCK, LINEAR, BLOCK, LINEAR), "layer_map": (0, 1, 2, 3), "norm_per_depth": False}
    )
    untied = Encoder(config, BINS).train()
    untied.load_state_dict(encoder.state_dict())
    found, expected = exits_of(encoder), exits_of(untied)
    assert torch.equal(found[4], expected[4])
    for name, buffer in untied.named_buffers():
        assert torch.equal(dict(encoder.named_buffers(remove_duplicate=False))[name], buffer)
    first, third = (norms_of(encoder.block_at(depth))[0].variance for depth in (0, 2))
    assert not torch.allclose(first, third, atol=1e-3)
