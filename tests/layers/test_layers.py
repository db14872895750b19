"""What the layers compute, against independent formulas; how they stream is in tests/contract."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from leanformer.layers.attention import SoftmaxAttention
from leanformer.layers.convolution import Convolution
from leanformer.layers.feed_forward import FeedForward
from leanformer.layers.masks import attention_mask
from leanformer.layers.normalization import make_activation, make_norm
from leanformer.layers.position import rotary_angles, rotate
from leanformer.layers.streaming import Context

DIM = 8
ANY = Context(4, 8)


@pytest.fixture
def x() -> Tensor:
    """Two rows of eleven frames."""
    return torch.randn(2, 11, DIM, generator=torch.Generator().manual_seed(0))


LENGTHS = torch.tensor([11, 11])


@pytest.mark.parametrize("context", [Context(11, 0), Context(4, 8), Context(2, 3)], ids=str)
@pytest.mark.parametrize("heads", [1, 2, 4])
@torch.no_grad()
def test_attention_is_torchs_own_under_the_mask(x: Tensor, heads: int, context: Context) -> None:
    torch.manual_seed(0)
    layer = SoftmaxAttention(DIM, heads)
    y, _, _ = layer(x, LENGTHS, layer.initial_state(2, context))

    query, key, value = (
        part.reshape(2, 11, heads, -1).transpose(1, 2)
        for part in layer.query_key_value(x, LENGTHS).chunk(3, dim=-1)
    )
    angles = rotary_angles(11, DIM // heads, x.device)
    left = context.left_context
    mask = attention_mask(11, context.chunk_size, left, torch.zeros(2, dtype=torch.int64), LENGTHS)
    expected = F.scaled_dot_product_attention(
        rotate(query, *angles), rotate(key, *angles), value, attn_mask=mask[:, None, :, left:]
    )
    assert torch.allclose(y, layer.project(expected.transpose(1, 2).flatten(2), LENGTHS), atol=1e-5)


@torch.no_grad()
def test_attention_hides_exactly_in_bfloat16_too(x: Tensor) -> None:
    layer = SoftmaxAttention(DIM, 2)
    changed = x.clone()
    changed[:, 4:] *= 1e6
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _, _ = layer(x, LENGTHS, layer.initial_state(2, ANY))
        found, _, _ = layer(changed, LENGTHS, layer.initial_state(2, ANY))
    assert y.dtype == torch.bfloat16
    assert torch.equal(found[:, :4], y[:, :4])
    assert not torch.equal(found, y)


@torch.no_grad()
def test_the_attention_cache_holds_the_newest_frames_last(x: Tensor) -> None:
    layer = SoftmaxAttention(DIM, 2)
    _, _, state = layer(x, torch.tensor([5, 11]), layer.initial_state(2, ANY))
    assert state.filled.tolist() == [5, 8]
    assert state.chunk_size == 4
    _, key, value = layer.query_key_value(x, LENGTHS).chunk(3, dim=-1)
    assert torch.allclose(state.keys[0, 3:], key[0, :5])
    assert not state.keys[0, :3].any()
    assert torch.allclose(state.values[1], value[1, 3:])


@pytest.mark.parametrize("kernel_size", [1, 2, 5])
@torch.no_grad()
def test_convolution_is_the_conformers(x: Tensor, kernel_size: int) -> None:
    layer = Convolution(DIM, kernel_size)
    y, _, _ = layer(x, LENGTHS, layer.initial_state(2, ANY))
    first, gate = layer.expand(x, LENGTHS).chunk(2, dim=-1)
    inside = first * gate.sigmoid()
    weight, bias = layer.depthwise.weight[:, 0], layer.depthwise.bias
    assert bias is not None
    past = F.pad(inside, (0, 0, kernel_size - 1, 0))
    mixed = sum(past[:, k : k + 11] * weight[:, k] for k in range(kernel_size)) + bias
    expected = layer.project(F.silu(F.layer_norm(mixed, (DIM,))), LENGTHS)
    assert torch.allclose(y, expected, atol=1e-5)


@torch.no_grad()
def test_convolution_without_gate_has_the_activation_instead(x: Tensor) -> None:
    layer = Convolution(DIM, 1, activation="relu", gate="none")
    assert layer.expand.out_features == DIM
    y, _, _ = layer(x, LENGTHS, layer.initial_state(2, ANY))
    mixed = layer.expand(x, LENGTHS).relu() * layer.depthwise.weight[:, 0, 0] + layer.depthwise.bias
    assert torch.allclose(y, layer.project(F.layer_norm(mixed, (DIM,)).relu(), LENGTHS), atol=1e-5)


@torch.no_grad()
def test_feed_forward(x: Tensor) -> None:
    layer = FeedForward(DIM, 5, "relu", dropout=0.5).eval()
    y, lengths, state = layer(x, LENGTHS, ())
    assert torch.allclose(y, layer.project(layer.expand(x, LENGTHS).relu(), LENGTHS))
    assert lengths is LENGTHS
    assert state == ()


def test_feed_forward_drops_hidden_channels_in_training(x: Tensor) -> None:
    layer = FeedForward(DIM, 64, dropout=0.5).train()
    assert not torch.equal(layer(x, LENGTHS, ())[0], layer(x, LENGTHS, ())[0])


def test_norms_and_activations_by_name() -> None:
    assert make_norm("layer", 3).normalized_shape == (3,)
    assert make_activation("swish")(torch.tensor(1.0)) == torch.tensor(1.0).sigmoid()
    assert make_activation("relu")(torch.tensor(-1.0)) == 0
    with pytest.raises(ValueError, match="unknown norm 'batsch'"):
        make_norm("batsch", 3)
