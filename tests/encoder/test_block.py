import pytest
import torch

from leanformer.config import BlockConfig, EncoderConfig, SoftmaxAttentionConfig
from leanformer.encoder.block import Block, Sublayer, make_inner
from leanformer.layers.streaming import Context

ANY = Context(4, 8)


def make(*order: str, dropout: float = 0.0) -> tuple[Block, list[Sublayer]]:
    config = BlockConfig.model_validate(
        {"order": order, "ffn_dim": 12, "kernel_size": 3, "attention": SoftmaxAttentionConfig(heads=2)}
    )
    block = Block(config, EncoderConfig(model_dim=8, blocks=(config,), dropout=dropout))
    return block, [layer for layer in block.sublayers if isinstance(layer, Sublayer)]


def test_sublayers_stand_in_the_order_of_the_config() -> None:
    _, layers = make("conv", "ffn", "attention")
    assert [type(layer.inner).__name__ for layer in layers] == [
        "Convolution",
        "FeedForward",
        "SoftmaxAttention",
    ]


def test_two_feed_forwards_have_half_weight_each() -> None:
    scales = {
        order: [layer.scale for layer in make(*order.split())[1]]
        for order in ("ffn attention conv ffn", "ffn conv", "conv ffn ffn ffn")
    }
    assert scales == {
        "ffn attention conv ffn": [0.5, 1.0, 1.0, 0.5],
        "ffn conv": [1.0, 1.0],
        "conv ffn ffn ffn": [1.0, 1.0, 1.0, 1.0],
    }


@torch.no_grad()
def test_is_residual_with_norms_before_each_and_one_after_all() -> None:
    block, layers = make("ffn", "conv", "ffn")
    x, lengths = torch.randn(2, 6, 8), torch.tensor([6, 6])
    y, _, _ = block.eval()(x, lengths, block.initial_state(2, ANY))
    for layer in layers:
        change, _, _ = layer.inner(layer.norm(x, lengths), lengths, layer.initial_state(2, ANY))
        x = x + layer.scale * change
    assert torch.equal(y, block.norm(x, lengths))


def test_dropout_is_on_the_change_alone() -> None:
    _, (layer,) = make("ffn", dropout=0.5)
    layer.inner.eval()
    x, lengths = torch.randn(4, 6, 8), torch.tensor([6] * 4)
    torch.manual_seed(0)
    change = (layer(x, lengths, ())[0] - x).detach()
    full = layer.inner(layer.norm(x, lengths), lengths, ())[0].detach()
    dropped = (change.abs() < 1e-6).all(dim=1)
    assert 0.2 < dropped.float().mean() < 0.8
    assert torch.allclose(change, torch.where(dropped[:, None], 0.0, 2 * full), atol=1e-5)


def test_an_unknown_sublayer_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown sublayer 'lstm'"):
        make_inner("lstm", BlockConfig(), EncoderConfig())
