"""Identities of the encoder: what a config's choices must and must not change."""

import copy

import pytest
import torch
from torch import Tensor, nn

from leanformer.config import BlockConfig, EncoderConfig, PhoneHeadConfig, SubsamplingConfig
from leanformer.encoder.encoder import Encoder
from leanformer.layers.streaming import Context
from leanformer.model import PhoneHead

BINS, DIM = 6, 8
CONTEXT = Context(2, 4)
LENGTHS = torch.tensor([24, 17])
BLOCK = BlockConfig(ffn_dim=12, kernel_size=3)
LOCAL = BlockConfig(ffn_dim=12, kernel_size=3, order=("ffn", "conv", "ffn"))


def config(
    *blocks: BlockConfig, layer_map: tuple[int, ...] = (), exits: tuple[int, ...] = ()
) -> EncoderConfig:
    return EncoderConfig(
        model_dim=DIM,
        subsampling=SubsamplingConfig(channels=3),
        blocks=blocks,
        layer_map=layer_map,
        exits=exits,
        dropout=0.0,
    )


def make(made: EncoderConfig, taps: dict[int, nn.Module] | None = None) -> Encoder:
    torch.manual_seed(0)
    return Encoder(made, BINS, taps).eval()


@torch.no_grad()
def exits_of(encoder: Encoder) -> dict[int, Tensor]:
    x = torch.randn(2, 24, BINS, generator=torch.Generator().manual_seed(1))
    return encoder.forward_exits(x, LENGTHS, encoder.initial_state(2, CONTEXT))[0]


@torch.no_grad()
def output_of(encoder: Encoder) -> Tensor:
    x = torch.randn(2, 24, BINS, generator=torch.Generator().manual_seed(1))
    y, lengths, _ = encoder.forward(x, LENGTHS, encoder.initial_state(2, CONTEXT))
    assert lengths.tolist() == [6, 5]
    return y


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_identity_map_is_the_plain_stack() -> None:
    plain = output_of(make(config(BLOCK, LOCAL, BLOCK)))
    assert torch.equal(output_of(make(config(BLOCK, LOCAL, BLOCK, layer_map=(0, 1, 2)))), plain)
    assert not torch.equal(output_of(make(config(BLOCK, LOCAL, BLOCK, layer_map=(2, 1, 0)))), plain)


@torch.no_grad()
def test_the_plain_stack_is_its_blocks_one_after_the_other() -> None:
    encoder = make(config(BLOCK, LOCAL, BLOCK))
    x = torch.randn(2, 24, BINS, generator=torch.Generator().manual_seed(1))
    y, lengths, _ = encoder.subsampling(x, LENGTHS, encoder.subsampling.initial_state(2, CONTEXT))
    for block in encoder.blocks:
        y, lengths, _ = block(y, lengths, block.initial_state(2, CONTEXT))  # type: ignore[operator]
    assert torch.equal(output_of(encoder), y)


def test_shared_layers_tie_their_weights_and_keep_states_of_their_own() -> None:
    shared = make(config(BLOCK, LOCAL, layer_map=(0, 1, 0, 0)))
    assert parameters(shared) == parameters(make(config(BLOCK, LOCAL)))
    assert parameters(shared) < parameters(make(config(BLOCK, LOCAL, BLOCK, BLOCK)))
    assert len(shared.initial_state(2, CONTEXT).layers) == 4


def test_shared_layers_are_copies_of_one_block() -> None:
    shared = make(config(BLOCK, LOCAL, layer_map=(0, 1, 0, 0)))
    untied = make(config(BLOCK, LOCAL, BLOCK, BLOCK))
    untied.subsampling.load_state_dict(shared.subsampling.state_dict())
    for block, index in zip(untied.blocks, shared.config.layer_map, strict=True):
        block.load_state_dict(shared.blocks[index].state_dict())
    assert torch.equal(output_of(untied), output_of(shared))


def test_a_change_of_a_shared_block_shows_at_every_depth_that_runs_it() -> None:
    shared = make(config(BLOCK, LOCAL, layer_map=(0, 1, 0), exits=(1, 2, 3)))
    before = exits_of(shared)
    with torch.no_grad():
        for parameter in shared.blocks[1].parameters():
            parameter.mul_(1.5)
    after = exits_of(shared)
    assert torch.equal(after[1], before[1])
    assert not torch.equal(after[2], before[2])


def test_exits_do_not_change_the_output() -> None:
    plain = make(config(BLOCK, LOCAL, BLOCK))
    with_exits = make(config(BLOCK, LOCAL, BLOCK, exits=(1, 2)))
    assert torch.equal(output_of(with_exits), output_of(plain))
    assert set(exits_of(plain)) == {3}
    exits = exits_of(with_exits)
    assert set(exits) == {1, 2, 3}
    assert torch.equal(exits[3], output_of(plain))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_exit_is_the_output_of_an_encoder_cut_off_there(depth: int) -> None:
    layer_map = (0, 1, 0, 1)
    whole = make(config(BLOCK, LOCAL, layer_map=layer_map, exits=(1, 2, 3)))
    kept = layer_map[:depth]
    cut = make(config(*(BLOCK, LOCAL)[: max(kept) + 1], layer_map=kept))
    cut.load_state_dict({k: v for k, v in whole.state_dict().items() if k in cut.state_dict()})
    assert torch.equal(exits_of(whole)[depth], output_of(cut))


def test_the_layers_can_be_run_from_the_middle() -> None:
    encoder = make(config(BLOCK, LOCAL, BLOCK, exits=(1,)))
    states = encoder.initial_state(2, CONTEXT).layers
    with torch.no_grad():
        outputs, following = encoder.run_layers(
            exits_of(encoder)[1], torch.tensor([6, 5]), states[1:], start=1
        )
    assert set(outputs) == {3}
    assert len(following) == 2
    assert torch.equal(outputs[3], output_of(encoder))


def test_a_tap_stands_between_its_layer_and_the_next() -> None:
    plain = make(config(BLOCK, BLOCK, exits=(1,)))
    assert torch.equal(output_of(make(config(BLOCK, BLOCK), {1: nn.Identity()})), output_of(plain))

    tapped = make(config(BLOCK, BLOCK), {1: PhoneHead(DIM, 1, PhoneHeadConfig(depth=1))})
    tapped.load_state_dict(tapped.state_dict() | plain.state_dict())
    assert torch.equal(exits_of(tapped)[1], exits_of(plain)[1])
    assert not torch.allclose(output_of(tapped), output_of(plain), atol=1e-3)

    unmoved = copy.deepcopy(tapped)
    head = unmoved.taps["1"]
    for parameter in head.get_submodule("condition").parameters():
        nn.init.zeros_(parameter)
    nn.init.eye_(head.get_submodule("hear").get_parameter("weight"))
    assert torch.equal(output_of(unmoved), output_of(plain))
