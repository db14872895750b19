"""A fused model is the same function without BatchNorm."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from fusible import CONTEXT, SMALL, assert_same_function, disturb, largest, make, norms, run
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leanformer.compress.fuse import fold, fuse
from leanformer.config import ModelConfig, PhoneHeadConfig
from leanformer.config_toml import from_dict, to_toml
from leanformer.export.speech import read_clips
from leanformer.features.spec import FeatureSpec
from leanformer.layers.normalization import BatchNorm
from leanformer.layers.streaming import Context
from leanformer.model import NUM_BINS, SpeechModel
from leanformer.text.tokenizer import train_tokenizer
from leanformer.train.checkpoint import load_trained, write_checkpoint
from leanformer.train.fitting import plain
from leanformer.train.recipe import Recipe

CLIPS = sorted((Path(__file__).parents[1] / "data" / "clips").glob("*.opus"))

# Equal on real speech, after training.


@pytest.fixture(scope="module")
def speech() -> list[Tensor]:
    """Log-mel features (1, T, 80) of real recordings."""
    return [torch.from_numpy(clip.features)[None] for clip in read_clips(CLIPS, FeatureSpec())]


@pytest.fixture(scope="module")
def trained(speech: list[Tensor]) -> SpeechModel:
    """Trained for some steps in bfloat16, as `leanformer train` does, on parts of two recordings."""
    block = {"ffn_dim": 128, "kernel_size": 15}
    performer = {"ffn_dim": 128, "attention": {"kind": "performer", "features": 16}, "fold": 2}
    sizes = {"model_dim": 64, "blocks": [block, performer, block], "activation": "relu", "conv_gate": "none"}
    model = make(sizes).train()
    frames = torch.cat(speech, dim=1)[0]
    model.feature_mean.copy_(frames.mean(dim=0))
    model.feature_std.copy_(frames.std(dim=0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    size = min(300, speech[0].shape[1])
    x = model.normalize(torch.cat([speech[0][:, :size], speech[0][:, :size] + 1.0]))
    targets = torch.randint(1, 11, (2, 12))
    for _ in range(12):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model.train_outputs(x, torch.tensor([size, size // 2]), Context(16, 32))
        loss = nn.functional.ctc_loss(
            out.log_probs.transpose(0, 1), targets, out.lengths, torch.tensor([12, 12])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def test_equals_the_unfused_model_on_real_speech(trained: SpeechModel, speech: list[Tensor]) -> None:
    fused = fuse(trained)
    assert len(norms(trained)) == 3 * 9 + 1
    assert norms(fused) == []
    context = Context(16, 32)
    for x in speech:
        lengths = torch.tensor([x.shape[1]])
        expected, _, _ = trained(x, lengths, trained.initial_state(1, context))
        found, _, _ = fused(x, lengths, fused.initial_state(1, context))
        assert largest(found, expected) < 1e-4
        state, parts = fused.initial_state(1, context), []
        for part in torch.split(x, 64, dim=1):
            y, _, state = fused(part, torch.tensor([part.shape[1]]), state)
            parts.append(y)
        assert largest(torch.cat(parts, dim=1), expected) < 1e-4
    untrained = copy.deepcopy(trained)
    for module in untrained.modules():
        if isinstance(module, BatchNorm):
            module.mean.zero_()
    assert largest(untrained(x, lengths, untrained.initial_state(1, context))[0], expected) > 0.01


# Equal for any config.


@st.composite
def encoders(draw: st.DrawFn) -> dict[str, Any]:
    heads = draw(st.sampled_from([1, 2, 4]))
    fold = st.sampled_from([1, 1, 2])
    attention = st.sampled_from([{"heads": heads}, {"kind": "performer", "heads": heads, "features": 5}])
    names = st.sampled_from(["ffn", "attention", "conv"])
    block = st.fixed_dictionaries(
        {
            "order": st.lists(names, min_size=1, max_size=4),
            "ffn_dim": st.sampled_from([2, 8, 14]),
            "kernel_size": st.integers(1, 6),
            "attention": attention,
            "fold": fold.map(lambda factor: {"factor": factor, "keep": "heads"}),
        }
    )
    blocks = draw(st.lists(block, min_size=1, max_size=2))
    depths = draw(st.lists(st.integers(0, len(blocks) - 1), max_size=2))
    return {
        "model_dim": 4 * heads * draw(st.sampled_from([1, 3])),
        "subsampling": {"factor": draw(st.sampled_from([4, 8])), "channels": 3},
        "blocks": blocks,
        "layer_map": [*range(len(blocks)), *depths],
        "exits": draw(st.sampled_from([[], [1]])),
        "norm_per_depth": draw(st.booleans()),
        "conv_gate": draw(st.sampled_from(["glu", "none", "wide"])),
        "activation": draw(st.sampled_from(["swish", "relu"])),
        "final_projection": draw(st.sampled_from([None, "none", "shared", "own"])),
    }


@settings(max_examples=40)
@given(encoders())
def test_any_config_is_the_same_function_when_fused(encoder: dict[str, Any]) -> None:
    model = make({key: value for key, value in encoder.items() if value is not None})
    if not norms(model):
        return
    fused = fuse(model)
    assert_same_function(fused, model)
    rebuilt = SpeechModel(fused.config).eval()
    rebuilt.load_state_dict(fused.state_dict())
    assert torch.equal(run(rebuilt, 16)[0], run(fused, 16)[0])


def test_a_bias_before_the_norm_is_fused_too() -> None:
    torch.manual_seed(0)
    layer, norm = nn.Conv1d(6, 6, 3, padding=1, groups=6).eval(), BatchNorm(6).eval()
    disturb(norm)
    x = torch.randn(2, 6, 9)
    expected = norm(layer(x).transpose(1, 2), torch.tensor([9, 9])).transpose(1, 2)
    weight, bias = fold(layer.weight, layer.bias, norm)
    found = nn.functional.conv1d(x, weight, bias, padding=1, groups=6)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


# What comes out.


def test_the_given_model_is_not_changed_and_shares_nothing_with_the_new_one() -> None:
    model = make(phone_head={"depth": 1})
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    fused = fuse(model)
    assert torch.equal(torch.get_rng_state(), random)
    with torch.no_grad():
        for tensor in fused.state_dict().values():
            tensor.zero_()
    assert len(norms(model)) == 2 * 9 + 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_only_norms_go_and_biases_come() -> None:
    model = make({"blocks": [{**SMALL, "order": ["conv"]}], "conv_gate": "none"})
    fused = fuse(model)
    of_model, of_fused = (sum(p.numel() for p in one.parameters()) for one in (model, fused))
    assert (
        of_fused == of_model - 4 * 8
    )  # four norms of 8 channels: a scale less, and a bias in place of a bias
    assert not fused.training


def test_a_fused_model_says_so_and_goes_through_a_checkpoint(tmp_path: Path) -> None:
    model = make(vocabulary_size=8)
    fused = fuse(model)
    encoder = fused.config.encoder
    assert (encoder.norm, encoder.final_projection) == ("none", "own")
    assert from_dict(ModelConfig, tomllib.loads(to_toml(fused.config)), "text") == fused.config
    content = {
        "recipe": plain(Recipe(name="fused", model=fused.config)),
        "tokenizer": train_tokenizer(["ab ba", "abba baba"], 8, "char").to_bytes(),
        "state_dict": {f"model.{name}": value for name, value in fused.state_dict().items()},
        "global_step": 1,
    }
    write_checkpoint(content, tmp_path / "step0000001.ckpt")
    loaded = load_trained(tmp_path).model
    assert loaded.config == fused.config
    assert torch.equal(run(loaded, 16)[0], run(fused, 16)[0])


def test_shared_layers_stay_shared() -> None:
    model = make({"layer_map": [0, 1, 0, 1]})
    fused = fuse(model)
    assert fused.config.encoder.layer_map == (0, 1, 0, 1)
    assert len(fused.encoder.blocks) == 2
    assert_same_function(fused, model)


def test_layers_with_norms_of_their_own_are_untied() -> None:
    model = make({"layer_map": [0, 1, 0, 1], "norm_per_depth": True})
    fused = fuse(model)
    encoder = fused.config.encoder
    assert (encoder.layer_map, encoder.norm_per_depth, len(encoder.blocks)) == ((0, 1, 2, 3), False, 4)
    assert_same_function(fused, model)
    first, third = (fused.encoder.blocks[depth].state_dict() for depth in (0, 2))
    assert not any(torch.equal(value, third[name]) for name, value in first.items() if "weight" in name)


@torch.no_grad()
@pytest.mark.parametrize("per_depth", [False, True])
@pytest.mark.parametrize("final", [None, "none", "shared"])
def test_a_second_pass_is_fused_with_the_first(per_depth: bool, final: str | None) -> None:
    encoder = {"norm_per_depth": per_depth} | ({"final_projection": final} if final else {})
    model = make(encoder, second={"blocks": [SMALL], "layer_map": [0, 0], "chunk_size": 3, "lookahead": 2})
    fused = fuse(model)
    assert norms(fused) == []
    assert model.second is not None
    assert fused.second is not None
    assert (model.second.layers.final.kind == "none") == (final == "none")
    config = fused.config.second
    assert config is not None
    assert (len(config.blocks), config.layer_map) == ((2, (0, 1)) if per_depth else (1, (0, 0)))
    assert (config.chunk_size, config.lookahead) == (3, 2)
    assert model.second.future.weights is not None
    model.second.future.weights.normal_()
    x, lengths = torch.randn(2, 11, 8), torch.tensor([11, 6])
    expected, before = (one.whole(x, lengths, CONTEXT) for one in (model.second, fused.second))
    assert largest(before, expected) > 0.1  # what was fused did not look ahead yet
    rebuilt = SpeechModel(fused.config).eval()
    rebuilt.load_state_dict(fuse(model).state_dict())
    assert rebuilt.second is not None
    found = rebuilt.second.whole(x, lengths, CONTEXT)
    assert largest(found[0], expected[0]) < 1e-4
    assert largest(found[1, :6], expected[1, :6]) < 1e-4


def test_a_phone_head_is_kept() -> None:
    model = make(phone_head={"depth": 1})
    fused = fuse(model)
    assert fused.config.phone_head == PhoneHeadConfig(depth=1)
    x, lengths = torch.randn(2, 16, NUM_BINS), torch.tensor([16, 9])
    with torch.no_grad():
        found, expected = (one.phone_outputs(x, lengths, CONTEXT) for one in (fused, model))
    assert largest(found, expected) < 1e-5
