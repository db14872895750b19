"""Shallow inference: a model cut off at a depth is the model run so far, and a model like any other."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leanformer.compress.fuse import fuse
from leanformer.compress.shallow import shallow, shallow_config
from leanformer.config import (
    BlockConfig,
    EncoderConfig,
    ModelConfig,
    PhoneHeadConfig,
    SecondPassConfig,
    SubsamplingConfig,
)
from leanformer.config_toml import from_dict, to_toml
from leanformer.errors import CompressError, ConfigError
from leanformer.layers.streaming import Context
from leanformer.model import NUM_BINS, SpeechModel

torch.set_num_threads(1)

CONTEXT = Context(2, 4)
LENGTHS = torch.tensor([48, 21])
BLOCK = BlockConfig(ffn_dim=12, kernel_size=3)
LOCAL = BlockConfig(ffn_dim=12, kernel_size=3, order=("ffn", "conv", "ffn"))


def make(
    exit_heads: Any = "shared",
    head: PhoneHeadConfig | None = None,
    second: SecondPassConfig | None = None,
    **encoder: Any,
) -> SpeechModel:
    values = {"blocks": (BLOCK, LOCAL), "layer_map": (1, 0, 1, 0), "dropout": 0.0} | encoder
    config = EncoderConfig(model_dim=8, subsampling=SubsamplingConfig(channels=2), **values)
    torch.manual_seed(0)
    model = SpeechModel(
        ModelConfig(vocabulary_size=11, encoder=config, exit_heads=exit_heads, phone_head=head, second=second)
    )
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        nn.init.uniform_(tensor, 0.2, 0.8)  # of every norm and statistic, too
    return model.eval()


@torch.no_grad()
def run(model: SpeechModel, depth: int | None = None) -> Tensor:
    x = torch.randn(2, 48, NUM_BINS, generator=torch.Generator().manual_seed(1))
    return model.train_outputs(x, LENGTHS, CONTEXT, depth).log_probs


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("per_depth", [False, True])
def test_a_sampled_depth_is_the_model_cut_off_there(depth: int, norm: str, per_depth: bool) -> None:
    model = make(norm=norm, norm_per_depth=per_depth)
    cut = shallow(model, depth)
    assert cut.config.encoder.depth == depth
    assert torch.equal(run(cut), run(model, depth))
    if depth < 4:
        assert not torch.allclose(run(cut), run(model), atol=1e-3)
    features = torch.randn(2, 48, NUM_BINS)
    streamed, _, _ = cut(features, LENGTHS, cut.initial_state(2, CONTEXT))
    assert torch.equal(streamed, cut.train_outputs(cut.normalize(features), LENGTHS, CONTEXT).log_probs)


def test_only_the_layers_below_the_depth_are_run() -> None:
    model = make(blocks=(BLOCK,) * 4, layer_map=())
    ran = []
    for depth in range(4):
        model.encoder.block_at(depth).register_forward_hook(lambda *_, depth=depth: ran.append(depth))
    run(model, 3)
    assert ran == [0, 1, 2]


@pytest.mark.parametrize(("depth", "blocks", "layer_map"), [(1, 1, (0,)), (2, 2, (1, 0)), (3, 2, (1, 0, 1))])
def test_what_no_longer_runs_is_left_out(depth: int, blocks: int, layer_map: tuple[int, ...]) -> None:
    cut = shallow(make(exits=(1, 2, 3)), depth)
    assert len(cut.encoder.blocks) == blocks
    assert cut.config.encoder.layer_map == layer_map
    assert cut.config.encoder.exits == tuple(range(1, depth + 1))
    assert cut.config.encoder.blocks[0] == (LOCAL if depth == 1 else BLOCK)
    if depth == 1:
        assert count(cut) < count(make())


def test_a_shared_block_costs_nothing_to_cut() -> None:
    model = make(blocks=(BLOCK,), layer_map=(0,) * 4)
    assert count(shallow(model, 2)) == count(model)
    assert len(shallow(model, 2).initial_state(1, CONTEXT).layers) == 2


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("final", ["none", "shared", "own"])
def test_the_outputs_of_an_exit_come_along(depth: int, final: str) -> None:
    model = make("own", exits=(2, 3), final_projection=final)
    cut = shallow(model, depth)
    assert torch.equal(run(cut), run(model, depth))
    assert torch.equal(cut.output.weight, model.output_at(depth).weight)
    assert set(cut.exit_outputs) == {str(exit) for exit in (2, 3) if exit < depth}
    for exit in (2, 3):
        if exit <= depth:
            assert torch.equal(run(shallow(cut, exit)), run(model, exit)), "and can be cut off again"


@pytest.mark.parametrize("per_depth", [False, True])
def test_fusing_and_cutting_off_may_come_in_any_order(per_depth: bool) -> None:
    fusible = {"norm": "batch", "activation": "relu", "conv_gate": "none", "norm_per_depth": per_depth}
    model = make("own", exits=(2,), final_projection="own", **fusible)
    cut = run(shallow(fuse(model), 2))
    torch.testing.assert_close(cut, run(fuse(shallow(model, 2))))
    torch.testing.assert_close(cut, run(model, 2), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(cut, run(model), atol=1e-2)


def test_exits_give_outputs_for_losses() -> None:
    model = make("own", exits=(1, 3))
    x = torch.randn(2, 48, NUM_BINS, generator=torch.Generator().manual_seed(1))
    outputs = model.train_outputs(x, LENGTHS, CONTEXT, with_exits=True)
    assert set(outputs.exits) == {1, 3}
    for exit, found in outputs.exits.items():
        assert torch.equal(found, run(model, exit))
    assert not model.train_outputs(x, LENGTHS, CONTEXT).exits
    assert set(model.train_outputs(x, LENGTHS, CONTEXT, depth=3, with_exits=True).exits) == {1}


@pytest.mark.parametrize(
    ("depth", "condition", "kept"),
    [(1, True, False), (2, True, False), (2, False, True), (3, True, True), (4, True, True)],
)
def test_a_phone_head_is_kept_where_it_still_serves(depth: int, condition: bool, kept: bool) -> None:
    model = make(head=PhoneHeadConfig(depth=2, condition=condition))
    cut = shallow(model, depth)
    assert (cut.phone_head is not None) == kept
    if depth >= 2:
        assert torch.equal(run(cut), run(model, depth))


def test_a_second_pass_stays_with_the_full_depth_only() -> None:
    model = make(second=SecondPassConfig(blocks=(LOCAL,), chunk_size=2, lookahead=1))
    full, cut = shallow(model, 4), shallow(model, 3)
    assert full.config == model.config
    assert all(torch.equal(value, full.state_dict()[name]) for name, value in model.state_dict().items())
    assert cut.config.second is None
    assert not [name for name in cut.state_dict() if name.startswith("second.")]
    assert torch.equal(run(cut), run(model, 3))


def test_nothing_is_shared_with_the_given_model_and_nothing_of_it_changes() -> None:
    model = make().double().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cut = shallow(model, 3)
    assert cut.training
    assert cut.feature_mean.dtype == torch.float64
    assert torch.equal(cut.feature_mean, model.feature_mean)
    with torch.no_grad():
        for parameter in cut.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    state = torch.get_rng_state()
    shallow(model, 2)
    assert torch.equal(torch.get_rng_state(), state)


def test_its_config_builds_it_again() -> None:
    cut = shallow(make("own", exits=(2,), norm="batch"), 2)
    again = SpeechModel(from_dict(ModelConfig, _read(to_toml(cut.config)), "text"))
    again.load_state_dict(cut.state_dict())
    assert again.config == cut.config == shallow_config(make("own", exits=(2,), norm="batch").config, 2)
    assert torch.equal(run(again.eval()), run(cut))


def _read(text: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(text)


# Where a model may be cut off.


@pytest.mark.parametrize(
    ("model", "depth", "known"),
    [
        ({}, 0, "1 to 4"),
        ({}, 5, "1 to 4"),
        ({}, -1, "1 to 4"),
        ({"exits": (1, 3)}, 2, "1, 3, 4"),
        ({"exits": (2,), "exit_heads": "own"}, 3, "2, 4"),
        ({"exit_heads": "own"}, 3, "4"),
        ({"final_projection": "own"}, 2, "4"),
    ],
)
def test_a_depth_without_an_output_is_refused(model: dict[str, Any], depth: int, known: str) -> None:
    with pytest.raises(CompressError, match=rf"at depth {depth}: outputs may be taken at {known};"):
        shallow(make(**model), depth)


def test_a_model_says_where_it_has_an_output_layer() -> None:
    model = make("own", exits=(2,))
    with pytest.raises(ConfigError, match=r"no CTC output at depth 3.*which are 2, 4"):
        run(model, 3)
