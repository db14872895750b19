"""Both objectives: what they predict, and what has a part in the loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from leanformer.config import EncoderConfig
from leanformer.config_toml import from_dict
from leanformer.layers.streaming import Context
from leanformer.pretrain.best_rq import BestRQ, BestRQConfig, Quantizer, codebook_use
from leanformer.pretrain.model import PretrainModel
from leanformer.pretrain.reconstruction import Reconstruction, ReconstructionConfig
from leanformer.pretrain.targets import normalize_utterances, stack_frames

from .conftest import ENCODER

CODES = BestRQConfig(codes=32, code_dim=4)


def test_codes_are_the_nearest_by_the_papers_formula() -> None:
    quantizer = Quantizer(24, CODES)
    x = torch.randn(5, 7, 24)
    projected = F.normalize(x @ quantizer.projection, dim=-1)
    distances = torch.cdist(projected.flatten(0, 1), F.normalize(quantizer.codebook, dim=-1))
    assert torch.equal(quantizer(x), distances.argmin(dim=-1).reshape(5, 7))
    assert torch.equal(quantizer(x), quantizer(3.0 * x)), "the norm of x has no part"


def test_the_quantiser_is_stored_seeded_and_never_trained() -> None:
    model = BestRQ(8, 24, CODES)
    assert {"quantizer.projection", "quantizer.codebook"} <= set(model.state_dict())
    assert not any("quantizer" in name for name, _ in model.named_parameters())
    torch.manual_seed(99)
    assert torch.equal(model.quantizer.codebook, Quantizer(24, CODES).codebook)
    other = Quantizer(24, CODES.model_copy(update={"seed": 1}))
    assert not torch.equal(model.quantizer.codebook, other.codebook)


def test_codes_do_not_change_under_autocast() -> None:
    quantizer, x = Quantizer(24, CODES), torch.randn(2000, 24)
    with torch.autocast("cpu", torch.bfloat16):
        found = quantizer(x)
    assert torch.equal(found, quantizer(x))


@pytest.mark.parametrize(
    "objective", [BestRQ(8, 24, CODES), Reconstruction(8, 24, ReconstructionConfig())], ids=["best_rq", "l1"]
)
def test_hidden_frames_alone_count(objective: torch.nn.Module) -> None:
    encoded, targets = torch.randn(2, 10, 8), torch.randn(2, 10, 24)
    lengths, hidden = torch.tensor([10, 6]), torch.zeros(2, 10, dtype=torch.bool)
    hidden[0, 3:5] = hidden[1, 1] = True
    loss = objective(encoded, targets, lengths, hidden).loss
    assert loss.item() > 0.1
    noise = torch.randn_like(encoded)
    elsewhere = objective(
        torch.where(hidden[:, :, None], encoded, noise),
        torch.where(hidden[:, :, None], targets, torch.randn_like(targets)),
        lengths,
        hidden,
    ).loss
    torch.testing.assert_close(elsewhere, loss)
    for changed in ((noise, targets), (encoded, torch.randn_like(targets))):
        assert objective(*changed, lengths, hidden).loss.item() != pytest.approx(loss.item())
    nothing = objective(encoded, targets, lengths, torch.zeros_like(hidden)).loss
    assert nothing.item() == 0.0


@pytest.mark.parametrize(
    "make",
    [
        lambda weight: BestRQ(8, 24, CODES.model_copy(update={"shown_weight": weight})),
        lambda weight: Reconstruction(8, 24, ReconstructionConfig(shown_weight=weight)),
    ],
    ids=["best_rq", "l1"],
)
def test_shown_frames_count_by_their_weight(make: Callable[[float], torch.nn.Module]) -> None:
    both, hidden_only = make(0.5), make(0.0)
    hidden_only.load_state_dict(both.state_dict())
    encoded, targets = torch.randn(2, 10, 8), torch.randn(2, 10, 24)
    lengths, hidden = torch.tensor([10, 6]), torch.zeros(2, 10, dtype=torch.bool)
    hidden[0, 3:5] = hidden[1, 1] = True
    shown = torch.tensor([[1] * 10, [1] * 6 + [0] * 4], dtype=torch.bool) & ~hidden
    expected = sum(
        weight * hidden_only(encoded, targets, lengths, chosen).loss.item()
        for weight, chosen in ((1.0, hidden), (0.5, shown))
    )
    assert both(encoded, targets, lengths, hidden).loss.item() == pytest.approx(expected)
    assert expected > hidden_only(encoded, targets, lengths, hidden).loss.item() + 0.1


def test_a_frame_is_to_tell_its_own_code() -> None:
    objective = BestRQ(32, 24, CODES)
    with torch.no_grad():
        objective.predict.weight.copy_(20.0 * torch.eye(32))
        objective.predict.bias.zero_()
    targets, hidden = torch.randn(2, 40, 24), torch.rand(2, 40) < 0.5
    codes = F.one_hot(objective.quantizer(targets), 32).float()
    judged = objective(codes, targets, torch.tensor([40, 40]), hidden)
    assert judged.figures["masked_accuracy"].item() == 1.0
    assert judged.loss.item() < 1e-3
    assert judged.code_counts is not None
    assert torch.equal(judged.code_counts, codes.sum(dim=(0, 1)).long())
    later = objective(codes.roll(1, dims=1), targets, torch.tensor([40, 40]), hidden)
    assert later.figures["masked_accuracy"].item() < 0.5


def test_reconstruction_is_the_mean_absolute_difference() -> None:
    objective = Reconstruction(8, 24, ReconstructionConfig())
    encoded, hidden = torch.randn(1, 4, 8), torch.tensor([[False, True, True, False]])
    targets = objective.predict(encoded).detach()
    targets[0, 1] += 0.5
    assert objective(encoded, targets, torch.tensor([4]), hidden).loss.item() == pytest.approx(0.25)


def test_codebook_use() -> None:
    use = codebook_use(torch.tensor([5, 5, 0, 0]))
    assert use["codes_used"].item() == 0.5
    assert use["perplexity"].item() == pytest.approx(2.0)
    assert codebook_use(torch.zeros(4))["perplexity"].item() == pytest.approx(1.0)


def test_padding_and_its_amount_change_nothing() -> None:
    torch.manual_seed(0)
    model = PretrainModel(from_dict(EncoderConfig, ENCODER, "tiny"), CODES).eval()
    features, lengths = torch.randn(1, 44, 80), torch.tensor([44])
    wide = torch.cat([features, torch.full((1, 20, 80), 7.0)], dim=1)
    hidden = torch.zeros(1, 11, dtype=torch.bool)
    hidden[0, 4:9] = True
    wide_hidden = F.pad(hidden, (0, 5))
    losses = []
    for given, mask in ((features, hidden), (wide, wide_hidden)):
        encoded, _ = model.encode(model.normalize(given), lengths, Context(4, 8))
        losses.append(model.judge(encoded, given, lengths, mask).loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_targets_see_the_whole_utterance_and_the_encoder_only_what_is_shown() -> None:
    model = PretrainModel(from_dict(EncoderConfig, ENCODER, "tiny"), ReconstructionConfig()).eval()
    features, lengths = torch.randn(1, 44, 80), torch.tensor([44])
    seen: list[torch.Tensor] = []
    model.objective.register_forward_hook(lambda _, given, __: seen.append(given[1]))
    encoded, _ = model.encode(torch.zeros_like(features), lengths, Context(4, 8))
    model.judge(encoded, features, lengths, torch.ones(1, 11, dtype=torch.bool))
    assert torch.equal(seen[0], stack_frames(normalize_utterances(features, lengths), 4))
