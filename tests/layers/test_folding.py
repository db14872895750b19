"""Folding: sub-tokens see what their frames see, and the projections cost what the paper says."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leanformer.config import BlockConfig, EncoderConfig, FoldConfig, PerformerAttentionConfig
from leanformer.encoder.block import Block, make_inner
from leanformer.layers.attention import SoftmaxAttention
from leanformer.layers.feed_forward import FeedForward
from leanformer.layers.folding import Folded
from leanformer.layers.linear import Linear
from leanformer.layers.masks import attention_mask
from leanformer.layers.normalization import BatchNorm
from leanformer.layers.performer import Performer
from leanformer.layers.position import rotary_angles, rotate
from leanformer.layers.streaming import Context

DIM = 32
CONTEXT = Context(chunk_size=3, left_context=4)
LENGTHS = torch.tensor([9, 6])

INNER: dict[str, Callable[[int], nn.Module]] = {
    "softmax": lambda factor: SoftmaxAttention(DIM // factor, 2),
    "performer": lambda factor: Performer(DIM // factor, 2, 8, group=factor),
    "feed-forward": lambda factor: FeedForward(DIM // factor, 64 // factor),
}
every_inner = pytest.mark.parametrize("kind", INNER)
every_factor = pytest.mark.parametrize("factor", [2, 4, 8])


def make(kind: str, factor: int) -> Folded:
    torch.manual_seed(0)
    folded = Folded(INNER[kind](factor), factor, DIM).eval()
    if folded.position is not None:
        nn.init.normal_(folded.position)
    return folded


def frames(count: int = 9, seed: int = 1) -> Tensor:
    return torch.randn(2, count, DIM, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def run(layer: Any, x: Tensor, lengths: Tensor = LENGTHS, context: Context = CONTEXT) -> Tensor:
    y: Tensor = layer(x, lengths, layer.initial_state(len(x), context))[0]
    return y


@every_inner
def test_a_factor_of_one_is_the_plain_layer_bit_for_bit(kind: str) -> None:
    folded = make(kind, 1)
    x = frames()
    assert torch.equal(run(folded, x), run(folded.inner, x))
    assert list(folded.parameters()) == list(folded.inner.parameters())


def test_a_block_folded_by_one_is_the_plain_block_bit_for_bit() -> None:
    def block(fold: FoldConfig) -> Block:
        config = BlockConfig(ffn_dim=24, kernel_size=3, fold=fold)
        torch.manual_seed(0)
        return Block(config, EncoderConfig(model_dim=DIM, blocks=(config,))).eval()

    plain = run(block(FoldConfig()), frames())
    assert torch.equal(run(block(FoldConfig(factor=1, position=True, keep="heads")), frames()), plain)
    assert not torch.equal(run(block(FoldConfig(factor=2)), frames()), plain)


# What a sub-token sees.


@torch.no_grad()
@every_factor
def test_attention_is_that_of_sub_tokens_under_the_repeated_masks_of_frames(factor: int) -> None:
    """Written out densely, with masks of frames repeated along both axes, and absolute positions."""
    folded = make("softmax", factor)
    inner: Any = folded.inner
    assert folded.position is not None
    x = frames()
    size, width, heads = 9 * factor, DIM // factor, 2
    parts = (x + folded.position).reshape(2, 9, factor, width).flatten(1, 2)
    query, key, value = (
        projected.reshape(2, size, heads, width // heads).transpose(1, 2)
        for projected in inner.query_key_value(parts, LENGTHS * factor).chunk(3, dim=-1)
    )
    angles = rotary_angles(size, width // heads, x.device)
    nothing = torch.zeros(2, dtype=torch.int64)
    # With no cache, frame t sees keys from `left_context` before its chunk to the end of its chunk.
    with_cache = attention_mask(9, CONTEXT.chunk_size, CONTEXT.left_context, nothing, LENGTHS)
    mask = with_cache[:, :, CONTEXT.left_context :]
    mask = mask.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
    scores = rotate(query, *angles) @ rotate(key, *angles).transpose(2, 3) / (width // heads) ** 0.5
    seen = scores.masked_fill(~mask[:, None], float("-inf")).softmax(dim=-1) @ value
    expected = inner.project(seen.transpose(1, 2).flatten(2), LENGTHS).reshape(2, 9, DIM)
    found = run(folded, x)
    for row, length in enumerate(LENGTHS.tolist()):
        assert torch.allclose(found[row, :length], expected[row, :length], atol=1e-5)


@every_inner
@every_factor
def test_steps_of_any_size_equal_one_large_step(kind: str, factor: int) -> None:
    layer: Any = make(kind, factor)
    x, whole = frames(14), torch.tensor([14, 14])
    expected = run(layer, x, whole)
    state, outputs = layer.initial_state(2, CONTEXT), []
    for part in x.split([3, 6, 3, 2], dim=1):
        with torch.no_grad():
            y, _, state = layer(part, torch.tensor([part.shape[1]] * 2), state)
        outputs.append(y)
    assert torch.allclose(torch.cat(outputs, dim=1), expected, atol=1e-5)


@every_factor
@pytest.mark.parametrize("kind", ["softmax", "performer"])
def test_all_sub_tokens_of_a_frame_see_one_another_and_no_frame_of_the_future(kind: str, factor: int) -> None:
    layer = make(kind, factor)
    context = Context(1, 4)
    x = frames(4)[:1]
    lengths = torch.tensor([4])
    before = run(layer, x, lengths, context)
    width = DIM // factor
    for part in range(factor):
        changed = x.clone()
        changed[0, 2, part * width : (part + 1) * width] += torch.randn(width)
        differs = (run(layer, changed, lengths, context) != before).reshape(4, factor, width).any(dim=-1)
        assert not differs[:2].any()
        assert differs[2:].all()


# What it costs.


def weights_and_products(layer: Any, count: int) -> tuple[int, int]:
    """Elements of the linear layers' matrices, and their multiply-accumulates for `count` frames."""
    weights, products = 0, 0

    def counted(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal weights, products
        weights += module.get_parameter("weight").numel()
        products += module.get_parameter("weight").numel() * output.shape[:-1].numel()

    hooks = [m.register_forward_hook(counted) for m in layer.modules() if isinstance(m, Linear)]
    run(layer, torch.randn(1, count, DIM), torch.tensor([count]), Context(count, 0))
    for hook in hooks:
        hook.remove()
    return weights, products


@every_inner
@every_factor
def test_weights_shrink_by_the_square_of_the_factor_and_products_by_the_factor(
    kind: str, factor: int
) -> None:
    weights, products = weights_and_products(make(kind, 1), 5)
    assert weights_and_products(make(kind, factor), 5) == (weights // factor**2, products // factor)


@every_factor
def test_the_cache_keeps_its_number_of_elements(factor: int) -> None:
    def elements(layer: Any) -> int:
        state = layer.initial_state(1, CONTEXT)
        return int(state.keys.numel() + state.values.numel())

    assert elements(make("softmax", factor)) == elements(make("softmax", 1)) == 2 * 4 * DIM


@pytest.mark.parametrize(("keep", "elements"), [("head_dim", 2 * 64 * 9), ("heads", 4 * 64 * 5)])
def test_a_performers_state_shrinks(keep: Any, elements: int) -> None:
    folded = inner_of("attention", FoldConfig(factor=2, keep=keep), performer=True)
    assert (
        inner_of("attention", FoldConfig(), performer=True).initial_state(1, CONTEXT).sums.numel()
        == 4 * 64 * 9
    )
    assert folded.initial_state(1, CONTEXT).sums.numel() == elements


# Options.


def inner_of(name: str, fold: FoldConfig, **encoder: Any) -> Any:
    attention = {"attention": PerformerAttentionConfig(heads=4)} if encoder.pop("performer", False) else {}
    config = BlockConfig(ffn_dim=24, fold=fold, left_context=5, **attention)
    return make_inner(name, config, EncoderConfig(model_dim=DIM, blocks=(config,), **encoder))


@pytest.mark.parametrize("performer", [False, True])
@pytest.mark.parametrize(("keep", "heads", "head_dim"), [("head_dim", 2, 8), ("heads", 4, 4)])
def test_attention_keeps_its_heads_or_their_width(
    keep: Any, heads: int, head_dim: int, performer: bool
) -> None:
    folded = inner_of("attention", FoldConfig(factor=2, keep=keep), performer=performer)
    assert (folded.inner.heads, folded.inner.head_dim) == (heads, head_dim)


def test_each_sublayer_may_be_folded_or_not() -> None:
    assert isinstance(inner_of("ffn", FoldConfig(factor=2)), Folded)
    assert not isinstance(inner_of("ffn", FoldConfig(factor=2, ffn=False)), Folded)
    assert not isinstance(inner_of("attention", FoldConfig(factor=2, attention=False)), Folded)
    assert not isinstance(inner_of("conv", FoldConfig(factor=2)), Folded)
    assert not isinstance(inner_of("ffn", FoldConfig()), Folded)


def test_a_blocks_left_context_counts_frames() -> None:
    folded = inner_of("attention", FoldConfig(factor=2))
    assert folded.initial_state(1, Context(4, 8)).keys.shape == (1, 5 * 2, DIM // 2)
    assert folded.initial_state(1, Context(4, 3)).keys.shape == (1, 3 * 2, DIM // 2)
    assert folded.initial_state(1, Context(4, 3)).chunk_size == 4 * 2


def test_the_position_tells_sub_tokens_apart_and_is_a_vector() -> None:
    folded = inner_of("ffn", FoldConfig(factor=4))
    x = torch.ones(2, 3, DIM)
    lengths = torch.tensor([3, 3])
    alike = run(folded, x, lengths).unflatten(-1, (4, DIM // 4))
    assert torch.allclose(alike, alike[:, :, :1].expand_as(alike), atol=1e-6), "it begins from nothing"
    nn.init.normal_(folded.position)
    assert not torch.allclose(run(folded, x, lengths).unflatten(-1, (4, DIM // 4)), alike, atol=1e-3)
    assert folded.position.shape == (DIM,), "neither decayed nor orthogonalised, as no matrix is"
    assert inner_of("ffn", FoldConfig(factor=4, position=False)).position is None


def test_batch_norm_counts_all_sub_tokens_of_valid_frames_and_no_others() -> None:
    folded = inner_of("ffn", FoldConfig(factor=2, position=False), norm="batch", dropout=0.0).train()
    plain = FeedForward(DIM // 2, 12, "swish", 0.0, "batch").train()
    plain.load_state_dict(folded.inner.state_dict())
    x = frames()
    run(folded, x)
    tokens = torch.cat([row[:length] for row, length in zip(x, LENGTHS.tolist(), strict=True)])
    tokens = tokens.reshape(1, -1, DIM // 2)
    run(plain, tokens, torch.tensor([tokens.shape[1]]))
    norms = [[m for m in layer.modules() if isinstance(m, BatchNorm)] for layer in (folded, plain)]
    assert len(norms[0]) == 2
    for found, expected in zip(*norms, strict=True):
        assert torch.allclose(found.mean, expected.mean, atol=1e-6)
        assert torch.allclose(found.variance, expected.variance, atol=1e-6)
        assert found.mean.any()
