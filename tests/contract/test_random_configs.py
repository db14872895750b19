"""Any combination of the options builds, survives TOML, trains, streams, is cut off and fuses as it must."""

import tomllib
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leanformer.compress.fuse import fuse
from leanformer.compress.shallow import shallow
from leanformer.config import (
    BlockConfig,
    EncoderConfig,
    FoldConfig,
    ModelConfig,
    PerformerAttentionConfig,
    PhoneHeadConfig,
    SecondPassConfig,
    SoftmaxAttentionConfig,
    SubsamplingConfig,
)
from leanformer.config_toml import from_dict, to_toml
from leanformer.errors import CompressError
from leanformer.layers.normalization import BatchNorm
from leanformer.layers.streaming import Context
from leanformer.model import NUM_BINS, SpeechModel

DIM = 16
CONTEXT = Context(chunk_size=2, left_context=3)


@st.composite
def blocks(draw: st.DrawFn) -> BlockConfig:
    fold = FoldConfig(
        factor=draw(st.sampled_from([1, 2, 4, 8])),
        attention=draw(st.booleans()),
        ffn=draw(st.booleans()),
        position=draw(st.booleans()),
        keep=draw(st.sampled_from(["heads", "head_dim"])),
    )
    factor = fold.of("attention")
    # Rotary positions need two channels a head, and `head_dim` as many heads as sub-tokens.
    fits = [h for h in (1, 2, 4, 8) if (DIM // factor % (2 * h) if fold.keep == "heads" else h % factor) == 0]
    heads = draw(st.sampled_from(fits))
    kinds = [
        SoftmaxAttentionConfig(heads=heads),
        PerformerAttentionConfig(heads=heads, features=draw(st.integers(1, 5)), seed=draw(st.integers(0, 9))),
    ]
    return BlockConfig(
        order=tuple(draw(st.lists(st.sampled_from(["ffn", "attention", "conv"]), min_size=1, max_size=4))),
        ffn_dim=draw(st.sampled_from([8, 24])),
        kernel_size=draw(st.integers(1, 4)),
        attention=draw(st.sampled_from(kinds)),
        left_context=draw(st.sampled_from([None, 1, 5])),
        fold=fold,
    )


@st.composite
def encoders(draw: st.DrawFn) -> EncoderConfig:
    drawn = draw(st.lists(blocks(), min_size=1, max_size=3))
    again = draw(st.lists(st.integers(0, len(drawn) - 1), max_size=2))
    layer_map = draw(st.permutations([*range(len(drawn)), *again]))
    return EncoderConfig(
        model_dim=DIM,
        subsampling=SubsamplingConfig(factor=draw(st.sampled_from([4, 8])), channels=2),
        blocks=tuple(drawn),
        layer_map=tuple(layer_map),
        exits=tuple(draw(st.sets(st.integers(1, len(layer_map)), max_size=2))),
        norm=draw(st.sampled_from(["layer", "batch", "batch", "batch_in_place", "none"])),
        final_projection=draw(st.sampled_from([None, "none", "shared", "own"])),
        norm_per_depth=draw(st.booleans()),
        activation=draw(st.sampled_from(["swish", "relu"])),
        conv_gate=draw(st.sampled_from(["glu", "none", "wide"])),
        dropout=0.1,
    )


@st.composite
def second_passes(draw: st.DrawFn) -> SecondPassConfig:
    drawn = draw(st.lists(blocks(), min_size=1, max_size=2))
    again = draw(st.lists(st.integers(0, len(drawn) - 1), max_size=1))
    return SecondPassConfig(
        blocks=tuple(drawn),
        layer_map=tuple(draw(st.permutations([*range(len(drawn)), *again]))) if again else (),
        chunk_size=draw(st.integers(1, 3)),
        lookahead=draw(st.integers(0, 3)),
        left_context=draw(st.integers(1, 4)),
    )


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    encoder = draw(encoders())
    depth = draw(st.integers(0, encoder.depth))  # 0: no phone head
    head = depth and PhoneHeadConfig(
        depth=depth,
        condition=depth < encoder.depth and draw(st.booleans()),
        stop_gradient=draw(st.booleans()),
        hide_audio=draw(st.sampled_from([0.0, 0.5, 1.0])),
    )
    return ModelConfig(
        vocabulary_size=5,
        encoder=encoder,
        exit_heads=draw(st.sampled_from(["shared", "own"])),
        phone_head=head or None,
        second=draw(st.none() | second_passes()),
    )


def build(config: ModelConfig) -> SpeechModel:
    """With norms that differ from the identity, and from one another."""
    torch.manual_seed(0)
    model = SpeechModel(config)
    for module in model.modules():
        if isinstance(module, BatchNorm | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, BatchNorm):
            nn.init.uniform_(module.mean, -0.5, 0.5)
            nn.init.uniform_(module.variance, 0.5, 1.5)
    return model.eval()


def signal(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(length, NUM_BINS, generator=generator) for length in lengths]


def batch(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=float("nan")), lengths


@torch.no_grad()
def offline(model: SpeechModel, row: Tensor, depth: int | None = None) -> Tensor:
    outputs = model.train_outputs(model.normalize(row[None]), torch.tensor([len(row)]), CONTEXT, depth)
    return outputs.log_probs[0]


@torch.no_grad()
def second_offline(model: SpeechModel, row: Tensor) -> Tensor:
    outputs = model.train_outputs(model.normalize(row[None]), torch.tensor([len(row)]), CONTEXT)
    assert outputs.second is not None
    return outputs.second[0]


@torch.no_grad()
def in_steps(model: SpeechModel, rows: list[Tensor], multiples: list[tuple[int, int]]) -> list[Tensor]:
    """Rows stepped together, each by its own multiples of a chunk, then by all that is left."""
    step = CONTEXT.chunk_size * model.config.encoder.subsampling.factor
    state: Any = model.initial_state(len(rows), CONTEXT)
    found: list[list[Tensor]] = [[] for _ in rows]
    left = rows
    for sizes in [*[[step * m for m in pair] for pair in multiples], [len(row) for row in rows]]:
        taken = [row[:size] for row, size in zip(left, sizes, strict=True)]
        left = [row[size:] for row, size in zip(left, sizes, strict=True)]
        if not any(map(len, taken)):
            continue
        y, lengths, state = model(*batch(taken), state)
        for row, length, outputs in zip(y, lengths.tolist(), found, strict=True):
            outputs.append(row[:length])
    return [torch.cat(outputs) for outputs in found]


def close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-3)


quick = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(models(), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=3), st.integers(1, 40))
def test_streams_as_offline_and_survives_toml(
    config: ModelConfig, multiples: list[tuple[int, int]], length: int
) -> None:
    assert from_dict(ModelConfig, tomllib.loads(to_toml(config)), "text") == config
    model = build(config)
    rows = signal(length, 40)
    for row, found in zip(rows, in_steps(model, rows, multiples), strict=True):
        assert close(found, offline(model, row))


@quick
@given(models())
def test_is_cut_off_wherever_an_output_may_be_taken(config: ModelConfig) -> None:
    model = build(config)
    (row,) = signal(21)
    head = config.phone_head
    for depth in range(1, config.encoder.depth + 1):
        if depth not in config.output_depths:
            with pytest.raises(CompressError, match=f"at depth {depth}"):
                shallow(model, depth)
            continue
        cut = shallow(model, depth)
        assert from_dict(ModelConfig, tomllib.loads(to_toml(cut.config)), "text") == cut.config
        assert close(in_steps(cut, [row, row], [(1, 0)])[0], offline(cut, row))
        if head is None or head.depth <= depth:
            assert torch.equal(offline(cut, row), offline(model, row, depth))


@quick
@given(models())
def test_fuses_exactly_or_says_why_not(config: ModelConfig) -> None:
    model = build(config)
    event(config.encoder.norm)
    if config.encoder.norm != "batch":
        with pytest.raises(CompressError):
            fuse(model)
        return
    fused = fuse(model)
    assert not any(isinstance(module, BatchNorm | nn.LayerNorm) for module in fused.modules())
    (row,) = signal(29)
    for depth in config.output_depths:
        if config.phone_head is None or config.phone_head.depth <= depth:
            assert close(offline(fused, row, depth), offline(model, row, depth))
    assert close(in_steps(fused, [row, row], [(1, 0)])[0], offline(model, row))
    last = config.encoder.depth
    assert close(offline(fuse(shallow(model, last)), row), offline(model, row))
    if config.second is not None:
        assert close(second_offline(fused, row), second_offline(model, row))


@quick
@given(models())
def test_trains_all_that_an_output_depends_on(config: ModelConfig) -> None:
    model = build(config).train()
    x, lengths = batch(signal(24, 40))
    outputs = model.train_outputs(x, lengths, CONTEXT, with_exits=True)
    valid = torch.arange(outputs.log_probs.shape[1]) < outputs.lengths[:, None]
    given = [
        outputs.log_probs,
        *outputs.exits.values(),
        *([] if outputs.second is None else [outputs.second]),
    ]
    losses = [found[valid].square().sum() for found in given]
    if outputs.phone_logits is not None:
        losses.append(outputs.phone_logits[valid].square().sum())
    torch.autograd.backward(sum(losses))
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
