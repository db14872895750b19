import math
from collections.abc import Callable

import pytest
import torch
from lattice_paths import batch_path_losses
from torch import Tensor
from warprnnt_numba import RNNTLossNumba

from leanformer.config import Factorization, TransducerConfig
from leanformer.transducer.joiner import Joiner
from leanformer.transducer.loss import logits_loss, transducer_loss

BATCH, FRAMES, LABELS, VOCABULARY, DIM, JOINT = 3, 6, 4, 7, 5, 8
LENGTHS = torch.tensor([6, 4, 5])
TARGET_LENGTHS = torch.tensor([3, 4, 0])
BOTH = ["softmax", "hat"]


def make_targets() -> Tensor:
    return torch.randint(1, VOCABULARY, (BATCH, LABELS), generator=torch.Generator().manual_seed(1))


def make_logits() -> Tensor:
    torch.manual_seed(0)
    return (2.0 * torch.randn(BATCH, FRAMES, LABELS + 1, VOCABULARY)).requires_grad_()


def make_joiner(factorization: Factorization = "hat", vocabulary: int = VOCABULARY) -> Joiner:
    torch.manual_seed(2)
    config = TransducerConfig(predictor_dim=DIM, joint_dim=JOINT, tied=False, factorization=factorization)
    return Joiner(DIM, config, vocabulary)


def outputs() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    encoder_out, predictor_out = torch.randn(BATCH, FRAMES, DIM), torch.randn(BATCH, LABELS + 1, DIM)
    return (3 * encoder_out).requires_grad_(), (3 * predictor_out).requires_grad_()


def padding() -> tuple[Tensor, Tensor, Tensor]:
    """What is beyond: frames (B, T), predictor outputs (B, U + 1) and targets (B, U)."""
    late = torch.arange(FRAMES) >= LENGTHS[:, None]
    past = torch.arange(LABELS + 1) > TARGET_LENGTHS[:, None]
    return late, past, torch.arange(LABELS) >= TARGET_LENGTHS[:, None]


@pytest.mark.parametrize("fast_emit", [0.0, 0.2])
def test_it_is_that_of_warprnnt(fast_emit: float) -> None:
    logits, targets = make_logits(), make_targets()
    oracle = RNNTLossNumba(blank=0, reduction="none", fastemit_lambda=fast_emit)
    theirs = oracle(logits, targets.int(), LENGTHS.int(), TARGET_LENGTHS.int())
    mine = logits_loss(logits, targets, LENGTHS, TARGET_LENGTHS, fast_emit=fast_emit)
    # Theirs counts FastEmit into the value, too.
    assert torch.allclose((1 + fast_emit) * mine, theirs, atol=1e-4)
    wanted, found = (torch.autograd.grad(x.sum(), logits)[0] for x in (theirs, mine))
    assert torch.allclose(found, wanted, atol=1e-5)
    assert found.any()


@pytest.mark.parametrize("factorization", BOTH)
def test_it_is_the_sum_over_all_paths(factorization: Factorization) -> None:
    """With the probabilities spelled out as they are defined."""
    logits, targets = make_logits(), make_targets()
    if factorization == "hat":
        blank = logits[..., 0].sigmoid()
        labels = (1 - blank)[..., None] * logits[..., 1:].softmax(dim=-1)
        probabilities = torch.cat([blank[..., None], labels], dim=-1)
    else:
        probabilities = logits.softmax(dim=-1)
    index = targets[:, None, :, None].expand(-1, FRAMES, -1, 1)
    label = probabilities[:, :, :-1].gather(3, index)[..., 0].log()
    lengths, target_lengths = LENGTHS.tolist(), TARGET_LENGTHS.tolist()
    expected = batch_path_losses(probabilities[..., 0].log(), label, lengths, target_lengths)
    found = logits_loss(logits, targets, LENGTHS, TARGET_LENGTHS, factorization)
    assert torch.allclose(found, expected, atol=1e-5)
    theirs, mine = (torch.autograd.grad(x.sum(), logits)[0] for x in (expected, found))
    assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("factorization", BOTH)
def test_gradients_are_those_of_finite_differences(factorization: Factorization) -> None:
    logits = make_logits().double()[:2, :2, :3, :4].detach().requires_grad_()
    targets, lengths = torch.tensor([[1, 3], [2, 1]]), torch.tensor([2, 1])
    assert torch.autograd.gradcheck(
        lambda x: logits_loss(x, targets, lengths, lengths, factorization), logits, fast_mode=True
    )


@pytest.mark.parametrize("factorization", BOTH)
@pytest.mark.parametrize("frames_at_once", [1, 4, 100])
def test_slices_of_frames_make_no_difference(factorization: Factorization, frames_at_once: int) -> None:
    joiner, (encoder_out, predictor_out), targets = make_joiner(factorization), outputs(), make_targets()
    everything = encoder_out, predictor_out, *joiner.parameters()
    encoder, predictor = joiner.project_encoder(encoder_out), joiner.project_predictor(predictor_out)
    logits = joiner(encoder[:, :, None], predictor[:, None])
    expected = logits_loss(logits, targets, LENGTHS, TARGET_LENGTHS, factorization, 0.1)
    found = transducer_loss(
        joiner,
        encoder_out,
        predictor_out,
        targets,
        LENGTHS,
        TARGET_LENGTHS,
        fast_emit=0.1,
        slice_size=frames_at_once * BATCH * (LABELS + 1) * VOCABULARY,
    )
    assert torch.allclose(found, expected, atol=1e-5)
    for mine, theirs in zip(
        *(torch.autograd.grad(x.sum(), everything) for x in (found, expected)), strict=True
    ):
        assert torch.allclose(mine, theirs, atol=1e-5)
        assert mine.any()


@pytest.mark.parametrize("value", [0.0, 1e20, float("nan")])
def test_padding_may_hold_anything(value: float) -> None:
    joiner, (encoder_out, predictor_out), targets = make_joiner(), outputs(), make_targets()
    everything = encoder_out, predictor_out, *joiner.parameters()
    late, past, beyond = padding()
    expected = transducer_loss(joiner, encoder_out, predictor_out, targets, LENGTHS, TARGET_LENGTHS)
    found = transducer_loss(
        joiner,
        encoder_out.masked_fill(late[:, :, None], value),
        predictor_out.masked_fill(past[:, :, None], value),
        targets.masked_fill(beyond, -1 if value else 10_000),
        LENGTHS,
        TARGET_LENGTHS,
    )
    assert torch.equal(found, expected)
    for mine, theirs in zip(
        *(torch.autograd.grad(x.sum(), everything) for x in (found, expected)), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_padded_logits_have_no_gradient() -> None:
    logits, targets = make_logits(), make_targets()
    late, past, beyond = padding()
    found = logits_loss(logits, targets.masked_fill(beyond, -1), LENGTHS, TARGET_LENGTHS)
    assert torch.equal(found, logits_loss(logits, targets, LENGTHS, TARGET_LENGTHS))
    gradient = torch.autograd.grad(found.sum(), logits)[0]
    unused = late[:, :, None] | past[:, None]
    assert not gradient[unused].any()
    assert gradient[~unused].any(dim=-1).all()


def kept_by(loss: Callable[[], Tensor]) -> list[int]:
    """The sizes of what a loss keeps for its backward pass, which must then run."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = loss()
    found.sum().backward()
    return sizes


def test_nothing_of_the_size_of_all_logits_is_kept() -> None:
    """Not in pieces either; what is kept does not depend on the vocabulary at all."""
    both, rest = outputs(), (make_targets(), LENGTHS, TARGET_LENGTHS)
    small, large = (
        kept_by(lambda v=v: transducer_loss(make_joiner(vocabulary=v), *both, *rest, slice_size=1))
        for v in (VOCABULARY, 50)
    )
    assert sum(small) == sum(large)
    all_logits = BATCH * FRAMES * (LABELS + 1) * VOCABULARY
    assert max(kept_by(lambda: logits_loss(make_logits(), *rest))) == all_logits  # so that it would be seen


class Watched(Joiner):
    """Notes the size and type of the logits it makes."""

    def watch(self) -> list[tuple[int, torch.dtype]]:
        self.made: list[tuple[int, torch.dtype]] = []
        return self.made

    def forward(self, encoder: Tensor, predictor: Tensor) -> Tensor:
        logits = super().forward(encoder, predictor)
        self.made.append((logits.numel(), logits.dtype))
        return logits


def test_logits_are_made_a_slice_at_a_time_and_once_more() -> None:
    config = TransducerConfig(predictor_dim=DIM, joint_dim=JOINT, tied=False)
    joiner, (encoder_out, predictor_out) = Watched(DIM, config, VOCABULARY), outputs()
    made, per_frame = joiner.watch(), BATCH * (LABELS + 1) * VOCABULARY
    size = 2 * per_frame + 1
    loss = transducer_loss(
        joiner, encoder_out, predictor_out, make_targets(), LENGTHS, TARGET_LENGTHS, slice_size=size
    )
    assert [numel for numel, _ in made] == [2 * per_frame] * 3
    loss.sum().backward()
    assert [numel for numel, _ in made] == [2 * per_frame] * 6


def test_under_autocast_only_the_joiner_is_rounded() -> None:
    config = TransducerConfig(predictor_dim=DIM, joint_dim=JOINT, tied=False)
    joiner, (encoder_out, predictor_out) = Watched(DIM, config, VOCABULARY), outputs()
    made = joiner.watch()
    arguments = joiner, encoder_out, predictor_out, make_targets(), LENGTHS, TARGET_LENGTHS
    exact = transducer_loss(*arguments)
    wanted = torch.autograd.grad(exact.sum(), encoder_out)[0]
    made.clear()
    with torch.autocast("cpu", torch.bfloat16):
        found = transducer_loss(*arguments)
    gradient = torch.autograd.grad(found.sum(), encoder_out)[0]
    assert {dtype for _, dtype in made} == {torch.bfloat16}
    assert len(made) == 2
    assert found.dtype == torch.float32
    assert torch.allclose(found, exact, rtol=0.01)
    assert torch.allclose(gradient, wanted, atol=0.02 * wanted.abs().max().item())


def test_without_targets_every_frame_is_a_blank() -> None:
    joiner, (encoder_out, predictor_out) = make_joiner(), outputs()
    nothing, none = torch.zeros(BATCH, 0, dtype=torch.int64), torch.zeros(BATCH, dtype=torch.int64)
    found = transducer_loss(joiner, encoder_out, predictor_out[:, :1], nothing, LENGTHS, none)
    encoder, predictor = joiner.project_encoder(encoder_out), joiner.project_predictor(predictor_out)
    blank = joiner.log_probs(encoder, predictor[:, :1])[..., 0]
    assert found.tolist() == pytest.approx([-blank[i, :t].sum().item() for i, t in enumerate(LENGTHS)])


def test_rows_and_batches_without_frames_have_no_loss() -> None:
    joiner, (encoder_out, predictor_out), targets = make_joiner(), outputs(), make_targets()
    lengths = torch.tensor([0, 4, 0])
    found = transducer_loss(joiner, encoder_out, predictor_out, targets, lengths, TARGET_LENGTHS)
    assert found[[0, 2]].tolist() == [0.0, 0.0]
    assert found[1] > 0.0
    gradient = torch.autograd.grad(found.sum(), encoder_out)[0]
    assert not gradient[[0, 2]].any()
    empty = transducer_loss(
        joiner, encoder_out[:, :0], predictor_out, targets, torch.zeros_like(lengths), TARGET_LENGTHS
    )
    assert empty.tolist() == [0.0] * BATCH
    empty.sum().backward()


def test_a_frame_may_hold_all_labels() -> None:
    """One frame, two labels, probabilities a half each: one path of three arcs."""
    logits = torch.zeros(1, 1, 3, 2)
    found = logits_loss(logits, torch.ones(1, 2, dtype=torch.int64), torch.tensor([1]), torch.tensor([2]))
    assert found.item() == pytest.approx(3 * math.log(2))
