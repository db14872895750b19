"""SpeechModel: what it puts around the encoder; how it streams is in tests/contract."""

import pytest
import torch
from torch import Tensor

from leanformer.config import BlockConfig, EncoderConfig, ModelConfig, PhoneHeadConfig, SubsamplingConfig
from leanformer.layers.streaming import Context
from leanformer.model import NUM_BINS, NUM_PHONES, SpeechModel

torch.set_num_threads(1)

CONTEXT = Context(2, 4)
LENGTHS = torch.tensor([40, 21])


def make(
    depth: int | None = None, factor: int = 8, hide_audio: float = 0.0, stop_gradient: bool = False
) -> SpeechModel:
    block = BlockConfig(ffn_dim=12, kernel_size=3)
    encoder = EncoderConfig(
        model_dim=8,
        subsampling=SubsamplingConfig.model_validate({"factor": factor, "channels": 2}),
        blocks=(block,) * 3,
        dropout=0.0,
    )
    head = None
    if depth:
        head = PhoneHeadConfig(depth=depth, hide_audio=hide_audio, stop_gradient=stop_gradient)
    torch.manual_seed(0)
    return SpeechModel(ModelConfig(vocabulary_size=11, encoder=encoder, phone_head=head)).eval()


@pytest.fixture
def x() -> Tensor:
    """Features of two rows, (2, 40, 80)."""
    return 3.0 + 2.0 * torch.randn(2, 40, NUM_BINS, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_gives_log_probabilities(x: Tensor) -> None:
    model = make()
    y, lengths, _ = model(x, LENGTHS, model.initial_state(2, CONTEXT))
    assert y.shape == (2, 5, 11)
    assert y.dtype == torch.float32
    assert lengths.tolist() == [5, 3]
    assert torch.allclose(y.exp().sum(dim=-1), torch.ones(2, 5))


@torch.no_grad()
def test_normalises_by_its_own_statistics(x: Tensor) -> None:
    model = make()
    plain, _, _ = model((x - 3.0) / 2.0, LENGTHS, model.initial_state(2, CONTEXT))
    model.feature_mean.fill_(3.0)
    model.feature_std.fill_(2.0)
    y, _, _ = model(x, LENGTHS, model.initial_state(2, CONTEXT))
    assert torch.allclose(y, plain, atol=1e-5)
    assert {"feature_mean", "feature_std"} <= model.state_dict().keys()


@pytest.mark.parametrize("depth", [None, 1, 2])
@torch.no_grad()
def test_training_sees_what_streaming_gives(x: Tensor, depth: int | None) -> None:
    model = make(depth)
    y, lengths, _ = model(x, LENGTHS, model.initial_state(2, CONTEXT))
    outputs = model.train_outputs(model.normalize(x), LENGTHS, CONTEXT)
    assert torch.equal(outputs.log_probs, y)
    assert torch.equal(outputs.lengths, lengths)
    if depth is None:
        assert outputs.phone_logits is None


@pytest.mark.parametrize(("factor", "slots"), [(4, 1), (8, 2)])
@torch.no_grad()
def test_the_phone_head_has_a_slot_for_every_four_frames(x: Tensor, factor: int, slots: int) -> None:
    outputs = make(1, factor).train_outputs(x, LENGTHS, CONTEXT)
    assert outputs.phone_logits is not None
    assert outputs.phone_logits.shape == (2, 40 // factor, slots, NUM_PHONES)


@torch.no_grad()
def test_the_phone_head_can_be_run_without_the_layers_above_it(x: Tensor) -> None:
    model = make(2)
    expected = model.train_outputs(x, LENGTHS, CONTEXT).phone_logits
    assert expected is not None
    assert torch.equal(model.phone_outputs(x, LENGTHS, CONTEXT), expected)
    for layer in model.encoder.blocks[2].modules():
        layer.register_forward_hook(lambda *_: pytest.fail("a layer above the head was run"))
    model.phone_outputs(x, LENGTHS, CONTEXT)


def test_what_needs_a_phone_head_says_so(x: Tensor) -> None:
    with pytest.raises(ValueError, match="no phone head"):
        make().phone_outputs(x, LENGTHS, CONTEXT)
    with pytest.raises(ValueError, match="no phone head"):
        make().text_outputs(torch.zeros(1, 2, 2, NUM_PHONES), LENGTHS[:1], CONTEXT)


@torch.no_grad()
def test_the_phone_head_conditions_the_layers_above_it_only(x: Tensor) -> None:
    model = make(2)
    before = model.train_outputs(x, LENGTHS, CONTEXT)
    assert model.phone_head is not None
    assert model.phone_head.condition is not None
    model.phone_head.condition.weight.mul_(3.0)
    after = model.train_outputs(x, LENGTHS, CONTEXT)
    assert before.phone_logits is not None
    assert after.phone_logits is not None
    assert torch.equal(after.phone_logits, before.phone_logits)
    assert not torch.allclose(after.log_probs, before.log_probs, atol=1e-3)


@torch.no_grad()
def test_text_enters_where_the_posteriors_do(x: Tensor) -> None:
    """With the sound hidden, the layers above the head cannot tell sound's posteriors from text's."""
    model = make(2, hide_audio=0.999).train()
    torch.manual_seed(0)
    hidden = model.train_outputs(x, LENGTHS, CONTEXT)
    assert hidden.phone_logits is not None
    told = model.text_outputs(hidden.phone_logits.softmax(dim=-1), hidden.lengths, CONTEXT)
    assert torch.allclose(told.log_probs[0], hidden.log_probs[0], atol=1e-5)
    assert torch.allclose(told.log_probs[1, :3], hidden.log_probs[1, :3], atol=1e-5)


@torch.no_grad()
def test_sound_is_hidden_in_training_only(x: Tensor) -> None:
    shown, hidden = make(2), make(2, hide_audio=0.999)
    for model in (shown, hidden):
        assert model.phone_head is not None
        assert model.phone_head.hear is not None
        assert not model.phone_head.hear.weight.any(), "it begins from nothing"
        torch.nn.init.eye_(model.phone_head.hear.weight)
    expected = shown.train_outputs(x, LENGTHS, CONTEXT).log_probs
    assert torch.equal(hidden.train_outputs(x, LENGTHS, CONTEXT).log_probs, expected)
    assert not torch.allclose(hidden.train().train_outputs(x, LENGTHS, CONTEXT).log_probs, expected)


@torch.no_grad()
def test_behind_a_bottleneck_sound_is_hidden_in_use_too(x: Tensor) -> None:
    model = make(2, hide_audio=1.0)
    outputs = model.train_outputs(x, LENGTHS, CONTEXT)
    assert outputs.phone_logits is not None
    told = model.text_outputs(outputs.phone_logits.softmax(dim=-1), outputs.lengths, CONTEXT)
    for row, length in enumerate(outputs.lengths.tolist()):
        assert torch.equal(told.log_probs[row, :length], outputs.log_probs[row, :length])


@pytest.mark.parametrize("stop_gradient", [False, True])
def test_the_losses_above_reach_the_posteriors_unless_stopped(x: Tensor, stop_gradient: bool) -> None:
    model = make(2, hide_audio=1.0, stop_gradient=stop_gradient)
    loss = model.train_outputs(x, LENGTHS, CONTEXT).log_probs[0].square().sum()
    torch.autograd.backward(loss)
    assert model.phone_head is not None
    assert (model.phone_head.classify.weight.grad is None) == stop_gradient
    assert model.output.weight.grad is not None
