"""Swapping attention: everything that both kinds have is kept, and the swapped model learns."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from leanformer.compress.swap_attention import swap_attention, swapped_config
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
from leanformer.errors import CompressError
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel

CONTEXT = Context(4, 8)
ATTENTION = SoftmaxAttentionConfig(heads=2)
BLOCK = BlockConfig(ffn_dim=16, kernel_size=3, attention=ATTENTION, left_context=6)
LOCAL = BlockConfig(ffn_dim=16, kernel_size=3, order=("ffn", "conv", "ffn"))
FOLDED = BLOCK.model_copy(update={"fold": FoldConfig(factor=2)})


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def model_of(*blocks: BlockConfig, layer_map: tuple[int, ...] = (), **encoder: Any) -> SpeechModel:
    torch.manual_seed(0)
    config = EncoderConfig(
        model_dim=8,
        subsampling=SubsamplingConfig(channels=3),
        blocks=blocks,
        layer_map=layer_map,
        dropout=0.0,
        **encoder,
    )
    head = PhoneHeadConfig(depth=1)
    return SpeechModel(ModelConfig(vocabulary_size=5, encoder=config, phone_head=head)).eval()


@pytest.fixture
def model() -> SpeechModel:
    return model_of(LOCAL, BLOCK, FOLDED, layer_map=(0, 1, 2, 1))


def log_probs(model: SpeechModel, frames: int = 61) -> Tensor:
    x = torch.randn(2, frames, 80, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y: Tensor = model(x, torch.tensor([frames, frames - 20]), model.initial_state(2, CONTEXT))[0]
    return y


def kinds(config: ModelConfig) -> list[str]:
    return [block.attention.kind for block in config.encoder.blocks]


def test_all_weights_that_both_kinds_have_are_kept(model: SpeechModel) -> None:
    swapped = swap_attention(model, "performer", features=12, seed=3)
    before, after = model.state_dict(), swapped.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    own = sorted(after.keys() - before.keys())
    assert own == [
        "encoder.blocks.1.sublayers.1.inner.directions",
        "encoder.blocks.1.sublayers.1.inner.forgetting",
        "encoder.blocks.2.sublayers.1.inner.inner.directions",
        "encoder.blocks.2.sublayers.1.inner.inner.forgetting",
    ]
    assert after[own[0]].shape == (2, 12, 4)
    assert sum("query_key_value" in name or "project" in name for name in before) >= 8


def test_the_config_says_what_the_model_is(model: SpeechModel) -> None:
    swapped = swap_attention(model, "performer", features=12, seed=3)
    assert kinds(swapped.config) == ["softmax", "performer", "performer"]
    assert swapped.config.encoder.blocks[1] == BLOCK.model_copy(
        update={"attention": PerformerAttentionConfig(heads=2, features=12, seed=3)}
    )
    assert swapped.encoder.config == swapped.config.encoder
    again = SpeechModel(swapped.config).eval()
    again.load_state_dict(swapped.state_dict())
    assert torch.equal(log_probs(again), log_probs(swapped))


def test_the_swapped_model_computes_something_else_and_the_given_one_stays_as_it_was(
    model: SpeechModel,
) -> None:
    expected, config = log_probs(model), model.config
    swapped = swap_attention(model, "performer")
    assert not torch.allclose(log_probs(swapped), expected, atol=1e-3)
    for parameter in swapped.parameters():
        parameter.data.zero_()
    assert torch.equal(log_probs(model), expected)
    assert model.config is config


def test_swapping_back_gives_the_first_model_bit_for_bit(model: SpeechModel) -> None:
    back = swap_attention(swap_attention(model, "performer"), "softmax")
    assert back.config == model.config
    assert torch.equal(log_probs(back), log_probs(model))


def test_only_the_chosen_blocks_are_swapped_and_others_keep_their_performers(model: SpeechModel) -> None:
    first = swap_attention(model, "performer", features=5, blocks=[2])
    assert kinds(first.config) == ["softmax", "softmax", "performer"]
    first.encoder.blocks[2].sublayers[1].inner.inner.forgetting.data.fill_(1.5)
    both = swap_attention(first, "performer", features=9)
    assert kinds(both.config) == ["softmax", "performer", "performer"]
    attention: Any = both.encoder.blocks[2].sublayers[1].inner.inner
    assert attention.forgetting.tolist() == [1.5]
    assert attention.directions.shape == (1, 5, 4)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("per_depth", [False, True])
def test_norms_and_shared_layers_are_kept(norm: str, per_depth: bool) -> None:
    model = model_of(BLOCK, layer_map=(0, 0, 0), norm=norm, norm_per_depth=per_depth)
    swapped = swap_attention(model, "performer")
    assert all(torch.equal(swapped.state_dict()[name], value) for name, value in model.state_dict().items())
    names = [name for name, _ in swapped.named_parameters() if name.endswith("forgetting")]
    assert len(names) == 1


def test_a_second_pass_keeps_its_attention(model: SpeechModel) -> None:
    second = SecondPassConfig(blocks=(BLOCK,), chunk_size=4, lookahead=2)
    cascade = SpeechModel(model.config.model_copy(update={"second": second}))
    swapped = swap_attention(cascade, "performer")
    assert swapped.config.second == second
    given, found = (
        {name: value for name, value in one.state_dict().items() if name.startswith("second.")}
        for one in (cascade, swapped)
    )
    assert given.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in given.items())
    assert kinds(swapped.config) == ["softmax", "performer", "performer"]


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_random_numbers_are_left_as_they_were(model: SpeechModel, training: bool) -> None:
    model.train(training)
    before = torch.random.get_rng_state()
    swapped = swap_attention(model)
    assert swapped.training == training
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_swapped_model_learns() -> None:
    swapped = swap_attention(model_of(BLOCK, BLOCK), features=16).train()
    x = torch.randn(3, 80, 80, generator=torch.Generator().manual_seed(1))
    lengths, targets = torch.tensor([80, 80, 60]), torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1], [2, 2, 1, 0]])
    optimizer = torch.optim.Adam(swapped.parameters(), lr=5e-3)
    losses, before = [], {name: value.clone() for name, value in swapped.state_dict().items()}
    for _ in range(12):
        outputs = swapped.train_outputs(x, lengths, CONTEXT)
        loss = F.ctc_loss(
            outputs.log_probs.transpose(0, 1), targets, outputs.lengths, torch.tensor([4, 4, 3]), blank=0
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    after = swapped.state_dict()
    for part in ("forgetting", "query_key_value.weight", "project.weight"):
        name = f"encoder.blocks.0.sublayers.1.inner.{part}"
        assert not torch.equal(after[name], before[name]), name
    name = "encoder.blocks.0.sublayers.1.inner.directions"
    assert torch.equal(after[name], before[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "linear"}, "kind = 'linear' is no attention; known are performer, softmax"),
        ({"kind": "softmax"}, "no block has attention of another kind than softmax"),
        ({"kind": "softmax", "blocks": [1]}, "the attention of block 1 is softmax already"),
        ({"blocks": []}, "nothing to swap"),
        ({"blocks": [3]}, "there is no block 3: encoder.blocks has 3, 0 to 2"),
        ({"blocks": [-1]}, "there is no block -1"),
        ({"blocks": [0]}, r"block 0 has no attention to swap \(its order is ffn, conv, ffn\)"),
        ({"features": 0}, "features = 0"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_what_cannot_be_swapped_is_refused(
    model: SpeechModel, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(CompressError, match=message):
        swap_attention(model, **arguments)


def test_a_performer_is_not_swapped_for_a_performer(model: SpeechModel) -> None:
    swapped = swap_attention(model)
    with pytest.raises(CompressError, match="the attention of block 1 is performer already"):
        swap_attention(swapped, blocks=[1])
    with pytest.raises(CompressError, match="nothing to swap"):
        swapped_config(swapped.config, "performer")


def test_a_model_that_is_not_what_its_config_builds_is_refused(model: SpeechModel) -> None:
    model.encoder.extra = torch.nn.Linear(2, 2)
    with pytest.raises(CompressError, match=r"encoder\.extra\.bias is in one of them only"):
        swap_attention(model)
