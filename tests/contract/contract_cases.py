"""Every streaming layer, and what it declares of itself. Add a layer HERE and it gets all contract tests."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from leanformer.config import (
    BlockConfig,
    EncoderConfig,
    FoldConfig,
    ModelConfig,
    NormName,
    PerformerAttentionConfig,
    PhoneHeadConfig,
    SecondPassConfig,
    SublayerName,
    SubsamplingConfig,
)
from leanformer.encoder.block import Block, Sublayer
from leanformer.encoder.cascade import Cascade, CascadeState, SecondPass
from leanformer.encoder.encoder import Encoder
from leanformer.encoder.subsampling import Subsampling
from leanformer.layers.attention import SoftmaxAttention
from leanformer.layers.convolution import Convolution
from leanformer.layers.feed_forward import FeedForward
from leanformer.layers.folding import Folded
from leanformer.layers.normalization import BatchNorm, LayerNorm
from leanformer.layers.performer import Performer
from leanformer.layers.streaming import Context
from leanformer.model import NUM_BINS, PhoneHead, SpeechModel

DIM = 8
CONTEXT = Context(chunk_size=4, left_context=8)
BINS = 7


@dataclass(frozen=True)
class Case:
    """One layer. Output frame t stands for input frames t * stride .. t * stride + stride - 1.

    `group` output frames see one another: the chunk where there is attention, 1 where there is none. A step
    in mid-stream holds a multiple of `stride * group` input frames. A group sees its own input frames,
    `lookahead` after them and `reach` before them (None: the state reaches back, but nobody counts how far).
    """

    name: str
    make: Callable[[], nn.Module]
    dim: int = DIM
    context: Context = CONTEXT
    stride: int = 1
    group: int = 1
    lookahead: int = 0
    reach: int | None = None
    cleans: bool = False
    """NaN in the padding reaches no gradient either: the layer replaces padding before it computes anything."""

    @property
    def step(self) -> int:
        """Input frames of the smallest step in mid-stream."""
        return self.stride * self.group

    @property
    def attends(self) -> bool:
        """Whether the context matters: a chunk is what sees itself whole."""
        return self.group == self.context.chunk_size

    @property
    def stateful(self) -> bool:
        """Whether anything is remembered from one step to the next."""
        return self.reach != 0

    def __str__(self) -> str:
        return self.name


@cache
def build(case: Case) -> nn.Module:
    """The layer with weights large enough for a small mistake to show, in evaluation mode.

    In float64: a frame that is nearly constant makes a LayerNorm enlarge float32's rounding to what a mistake might
    look like.
    """
    torch.manual_seed(0)
    layer = case.make().eval()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if parameter.dim() == 1 and "norm" in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
            elif parameter.dim() > 1:
                parameter.mul_(2.0)
        if any(isinstance(module, BatchNorm) for module in layer.modules()):
            hear(case, layer)
    return layer.double()


def hear(case: Case, layer: Any) -> None:
    """Give its norms the statistics of some signal, for random ones would make values of any size."""
    x, lengths = torch.randn(8, 8 * case.step, case.dim), torch.full((8,), 8 * case.step)
    for _ in range(40):
        layer.train()(x, lengths, layer.initial_state(8, case.context))
    layer.eval()


def attention(heads: int, chunk_size: int, left_context: int) -> Case:
    return Case(
        f"attention of {heads} heads, chunk {chunk_size}, left {left_context}",
        lambda: SoftmaxAttention(DIM, heads),
        context=Context(chunk_size, left_context),
        group=chunk_size,
        reach=left_context,
    )


def performer(heads: int, features: int) -> Case:
    return Case(
        f"Performer of {heads} heads, {features} features",
        lambda: Performer(DIM, heads, features, seed=heads),
    )


def subsampling(factor: Literal[4, 8]) -> Case:
    config = SubsamplingConfig(factor=factor, channels=3)
    return Case(
        f"subsampling by {factor}",
        lambda: Subsampling(BINS, DIM, config, "swish"),
        dim=BINS,
        stride=factor,
        reach=factor - 1,
        cleans=True,
    )


def make_block(config: BlockConfig) -> Block:
    return Block(config, EncoderConfig(model_dim=DIM, blocks=(config,), dropout=0.1))


def block(*order: SublayerName, group: int = 4, reach: int) -> Case:
    config = BlockConfig(order=order, ffn_dim=12, kernel_size=3)
    return Case(f"block {' '.join(order)}", lambda: make_block(config), group=group, reach=reach)


BLOCK = BlockConfig(ffn_dim=12, kernel_size=3)
LOCAL = BlockConfig(ffn_dim=12, kernel_size=4, order=("ffn", "conv", "ffn"))
LINEAR = BlockConfig(
    ffn_dim=12,
    kernel_size=3,
    order=("ffn", "conv", "attention", "ffn"),
    attention=PerformerAttentionConfig(heads=2, features=5),
)
FOLDED_LINEAR = LINEAR.model_copy(update={"fold": FoldConfig(factor=2)})


def encoder_config(
    *blocks: BlockConfig,
    factor: Literal[4, 8] = 4,
    layer_map: tuple[int, ...] = (),
    exits: tuple[int, ...] = (),
    norm_per_depth: bool = False,
) -> EncoderConfig:
    return EncoderConfig(
        model_dim=DIM,
        subsampling=SubsamplingConfig(factor=factor, channels=3),
        blocks=blocks,
        layer_map=layer_map,
        exits=exits,
        norm_per_depth=norm_per_depth,
        dropout=0.1,
    )


def normed(norm: NormName, config: EncoderConfig) -> EncoderConfig:
    """The same with another norm and no gate. ReLU is left out: of so few channels it would shut too many."""
    changes = {"norm": norm, "conv_gate": "none", "final_projection": None}
    return EncoderConfig.model_validate({**dict(config), **changes})


def encoder(
    name: str, config: EncoderConfig, group: int = 4, taps: Callable[[], dict[int, nn.Module]] = dict
) -> Case:
    return Case(
        f"encoder {name}",
        lambda: Encoder(config, BINS, taps()),
        dim=BINS,
        stride=config.subsampling.factor,
        group=group,
        cleans=True,
    )


def speech_model(name: str, config: EncoderConfig, phone_head: PhoneHeadConfig | None) -> Case:
    return Case(
        f"model {name}",
        lambda: SpeechModel(ModelConfig(vocabulary_size=11, encoder=config, phone_head=phone_head)),
        dim=NUM_BINS,
        stride=config.subsampling.factor,
        group=4,
        cleans=True,
    )


class LastPass(Cascade):
    """A cascade of which only the second pass is looked at."""

    def forward(self, x: Tensor, lengths: Tensor, state: CascadeState) -> tuple[Tensor, Tensor, CascadeState]:  # type: ignore[override]
        passes, state = super().forward(x, lengths, state)
        return passes.second, passes.second_lengths, state


def second_pass(name: str, *blocks: BlockConfig, lookahead: int, chunk_size: int = 4, **changes: Any) -> Case:
    def make() -> SecondPass:
        return make_second_pass(blocks, chunk_size, lookahead, **changes)

    return Case(
        f"second pass {name}",
        make,
        group=chunk_size,
        context=Context(chunk_size, 8),
        lookahead=lookahead,
    )


def make_second_pass(
    blocks: tuple[BlockConfig, ...], chunk_size: int, lookahead: int, **changes: Any
) -> SecondPass:
    config = SecondPassConfig(blocks=blocks, chunk_size=chunk_size, lookahead=lookahead, left_context=8)
    first = EncoderConfig.model_validate({**dict(encoder_config(BLOCK)), **changes})
    layer = SecondPass(config, ModelConfig(encoder=first, second=config).second_layers)
    if layer.future.weights is not None:
        nn.init.normal_(layer.future.weights)
    return layer


def cascade(factor: Literal[4, 8], chunk_size: int, lookahead: int) -> Case:
    return Case(
        f"cascade by {factor}, chunks of {chunk_size}, lookahead {lookahead}",
        lambda: LastPass(
            Encoder(encoder_config(LOCAL, factor=factor), BINS),
            make_second_pass((BLOCK,), chunk_size, lookahead),
        ),
        dim=BINS,
        context=Context(1, 8),  # the first pass's, which here has no attention; the second has its own
        stride=factor,
        group=chunk_size,
        lookahead=lookahead * factor,
        cleans=True,
    )


CASES = (
    second_pass("plain", BLOCK, BLOCK, lookahead=3),
    second_pass("without lookahead", BLOCK, lookahead=0),
    second_pass("with more lookahead than a chunk", BLOCK, lookahead=5, chunk_size=2),
    second_pass("with BatchNorm", BLOCK, LOCAL, lookahead=2, norm="batch", conv_gate="none"),
    cascade(4, chunk_size=4, lookahead=3),
    cascade(8, chunk_size=3, lookahead=4),
    Case("feed-forward", lambda: FeedForward(DIM, 12, "relu", dropout=0.1), reach=0),
    Case("convolution of 5", lambda: Convolution(DIM, 5), reach=4),
    Case("convolution of 1", lambda: Convolution(DIM, 1), reach=0),
    Case("convolution without gate", lambda: Convolution(DIM, 4, activation="relu", gate="none"), reach=3),
    Case("convolution with BatchNorm", lambda: Convolution(DIM, 4, "relu", "wide", "batch"), reach=3),
    attention(heads=1, chunk_size=4, left_context=8),
    attention(heads=2, chunk_size=3, left_context=5),
    attention(heads=4, chunk_size=5, left_context=2),
    attention(heads=2, chunk_size=1, left_context=6),
    attention(heads=2, chunk_size=4, left_context=0),
    attention(heads=1, chunk_size=1, left_context=0),
    Case(
        "attention with a left context of its own",
        lambda: SoftmaxAttention(DIM, 2, left_context=3),
        group=4,
        reach=3,
    ),
    Case(
        "attention with a longer left context than the stream's",
        lambda: SoftmaxAttention(DIM, 2, left_context=30),
        group=4,
        reach=8,
    ),
    performer(heads=1, features=3),
    performer(heads=2, features=4),
    performer(heads=4, features=7),
    Case(
        "folded Performer",
        lambda: Folded(Performer(DIM // 4, 1, 5, group=4), 4, DIM),
    ),
    subsampling(4),
    subsampling(8),
    Case("residual convolution", lambda: Sublayer(Convolution(DIM, 4), LayerNorm(DIM), 1.0, 0.1), reach=3),
    Case(
        "residual attention at half weight",
        lambda: Sublayer(SoftmaxAttention(DIM, 2), LayerNorm(DIM), 0.5, 0.0),
        group=4,
        reach=8,
    ),
    Case("folded feed-forward", lambda: Folded(FeedForward(DIM // 4, 6), 4, DIM), reach=0),
    Case("folded attention", lambda: Folded(SoftmaxAttention(DIM // 2, 2), 2, DIM), group=4, reach=8),
    # A convolution of 3 sees two frames back, into the chunk before, which sees 8 frames before itself.
    block("ffn", "attention", "conv", "ffn", reach=4 + 8),
    block("conv", "attention", reach=8 + 2),
    block("ffn", "conv", "attention", "ffn", reach=2 + 8),
    block("ffn", "conv", "ffn", group=1, reach=2),
    block("attention", "ffn", "attention", reach=8 + 8),
    block("ffn", group=1, reach=0),
    Case(
        "block, folded, with a left context of its own",
        lambda: make_block(BlockConfig(order=("attention",), left_context=3, fold=FoldConfig(factor=2))),
        group=4,
        reach=3,
    ),
    encoder("plain", encoder_config(BLOCK, BLOCK)),
    encoder("by 8", encoder_config(BLOCK, factor=8)),
    encoder("with shared layers", encoder_config(BLOCK, LOCAL, layer_map=(0, 1, 0, 0))),
    encoder("with a norm per depth", encoder_config(BLOCK, LOCAL, layer_map=(0, 1, 0), norm_per_depth=True)),
    encoder("with exits", encoder_config(BLOCK, BLOCK, BLOCK, exits=(1, 2))),
    encoder("of convolutions only", encoder_config(LOCAL, LOCAL), group=1),
    encoder("of convolutions, then Performers", encoder_config(LOCAL, LINEAR, layer_map=(0, 1, 1)), group=1),
    encoder(
        "with left contexts of its blocks",
        encoder_config(BLOCK, LOCAL, BLOCK.model_copy(update={"left_context": 3}), FOLDED_LINEAR),
    ),
    encoder("with BatchNorm", normed("batch", encoder_config(BLOCK, LOCAL))),
    encoder(
        "with BatchNorm, shared layers and Performers",
        normed("batch", encoder_config(FOLDED_LINEAR, BLOCK, layer_map=(0, 1, 0))),
    ),
    encoder("with BatchNorm in place", normed("batch_in_place", encoder_config(BLOCK))),
    encoder(
        "with a phone head's tap",
        encoder_config(BLOCK, BLOCK),
        taps=lambda: {1: PhoneHead(DIM, 1, PhoneHeadConfig(depth=1))},
    ),
    speech_model("plain", encoder_config(BLOCK, BLOCK), None),
    speech_model(
        "with a phone head", encoder_config(BLOCK, LOCAL, BLOCK, factor=8), PhoneHeadConfig(depth=2)
    ),
    speech_model("with a bottleneck", encoder_config(BLOCK, BLOCK), PhoneHeadConfig(depth=1, hide_audio=1.0)),
)
