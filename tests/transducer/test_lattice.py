import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lattice_paths import batch_path_losses
from torch import Tensor

from leanformer.transducer.lattice import lattice_loss

LENGTHS = [4, 2, 3, 1]
TARGET_LENGTHS = [2, 3, 0, 3]  # the second and the last speak more labels than they have frames


def arcs(seed: int = 0, batch: int = 4, frames: int = 4, labels: int = 3) -> tuple[Tensor, Tensor]:
    """Log-probabilities of arcs, float64, which need not add up to 1."""
    torch.manual_seed(seed)
    blank = torch.randn(batch, frames, labels + 1, dtype=torch.float64)
    label = torch.randn(batch, frames, labels, dtype=torch.float64)
    return blank.requires_grad_(), label.requires_grad_()


def gradients(losses: Tensor, of: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    weights = torch.arange(1, len(losses) + 1, dtype=losses.dtype)  # rows must not be mixed up
    return torch.autograd.grad((losses * weights).sum(), of, materialize_grads=True)


def loss(
    blank: Tensor,
    label: Tensor,
    fast_emit: float = 0.0,
    lengths: list[int] = LENGTHS,
    target_lengths: list[int] = TARGET_LENGTHS,
) -> Tensor:
    return lattice_loss(blank, label, torch.tensor(lengths), torch.tensor(target_lengths), fast_emit)


def test_it_is_the_sum_over_all_paths() -> None:
    both = arcs()
    expected, found = batch_path_losses(*both, LENGTHS, TARGET_LENGTHS), loss(*both)
    assert torch.allclose(found, expected)
    for mine, theirs in zip(gradients(found, both), gradients(expected, both), strict=True):
        assert torch.allclose(mine, theirs)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=3), st.integers(0, 99))
def test_it_is_the_sum_over_all_paths_of_any_shape(rows: list[tuple[int, int]], seed: int) -> None:
    lengths, target_lengths = (list(column) for column in zip(*rows, strict=True))
    both = arcs(seed, len(rows), max(lengths), max(target_lengths))
    expected = batch_path_losses(*both, lengths, target_lengths)
    found = loss(*both, lengths=lengths, target_lengths=target_lengths)
    assert torch.allclose(found, expected)
    mine, theirs = gradients(found, both), gradients(expected, both)
    assert torch.allclose(mine[0], theirs[0])
    assert torch.allclose(mine[1], theirs[1])


def test_gradients_are_those_of_finite_differences() -> None:
    short = [2, 1], [1, 2]
    assert torch.autograd.gradcheck(lambda *both: loss(*both, 0.0, *short), arcs(batch=2, frames=2, labels=2))


def test_fast_emit_makes_the_gradients_of_labels_larger_and_nothing_else() -> None:
    both = arcs()
    plain, fast = loss(*both), loss(*both, 0.3)
    of_blank, of_label = gradients(plain, both)
    assert torch.equal(plain, fast)
    found = gradients(fast, both)
    assert torch.equal(found[0], of_blank)
    assert torch.allclose(found[1], 1.3 * of_label)
    assert of_label.any()


def test_every_path_reads_each_frame_and_says_each_label_once() -> None:
    both = arcs()
    of_blank, of_label = torch.autograd.grad(loss(*both).sum(), both)
    heard = torch.arange(4) < torch.tensor(LENGTHS)[:, None]
    said = torch.arange(3) < torch.tensor(TARGET_LENGTHS)[:, None]
    assert torch.allclose(-of_blank.sum(dim=2), heard.double())
    assert torch.allclose(-of_label.sum(dim=1), said.double())


@pytest.mark.parametrize("value", [0.0, 1e30, float("nan"), float("inf"), float("-inf")])
def test_padding_may_hold_anything(value: float) -> None:
    both = arcs()
    late = torch.arange(4) >= torch.tensor(LENGTHS)[:, None]
    past = torch.arange(4) > torch.tensor(TARGET_LENGTHS)[:, None]
    beyond = torch.arange(3) >= torch.tensor(TARGET_LENGTHS)[:, None]
    blank = both[0].masked_fill(late[:, :, None] | past[:, None], value)
    label = both[1].masked_fill(late[:, :, None] | beyond[:, None], value)
    expected, found = loss(*both), loss(blank, label)
    assert torch.equal(found, expected)
    for mine, theirs in zip(gradients(found, both), gradients(expected, both), strict=True):
        assert torch.equal(mine, theirs)


def test_without_targets_every_frame_is_a_blank() -> None:
    blank, label = arcs(labels=0)
    found = loss(blank, label, target_lengths=[0] * 4)
    assert torch.allclose(found, torch.stack([-blank[i, :t].sum() for i, t in enumerate(LENGTHS)]))


def test_a_row_without_frames_has_no_loss() -> None:
    both = arcs()
    found = loss(*both, lengths=[4, 0, 3, 0], target_lengths=[2, 3, 0, 0])
    assert found[[1, 3]].tolist() == [0.0, 0.0]
    assert torch.equal(found[[0, 2]], loss(*both)[[0, 2]])
    for gradient in gradients(found, both):
        assert gradient.isfinite().all()
        assert not gradient[[1, 3]].any()


def test_a_batch_without_frames_has_no_loss() -> None:
    both = arcs(frames=0)
    assert loss(*both, lengths=[0] * 4).tolist() == [0.0] * 4
    gradients(loss(*both, lengths=[0] * 4), both)


def test_where_no_path_is_possible_the_loss_is_infinite_and_has_no_gradient() -> None:
    blank, label = arcs()
    label.data[0, :, 1] = float("-inf")
    found = loss(blank, label)
    assert found.isinf().tolist() == [True, False, False, False]
    for gradient in gradients(found, (blank, label)):
        assert gradient.isfinite().all()
        assert not gradient[0].any()


def test_what_may_happen_does_not_get_lost_in_long_lattices() -> None:
    """float32 at 400 frames and 100 labels, against float64."""
    torch.manual_seed(0)
    blank = torch.nn.functional.logsigmoid(torch.randn(2, 400, 101, dtype=torch.float64))
    label = torch.nn.functional.logsigmoid(torch.randn(2, 400, 100, dtype=torch.float64)) - 3.0
    lengths, target_lengths = torch.tensor([400, 351]), torch.tensor([70, 100])
    found = []
    for dtype in (torch.float64, torch.float32):
        both = [x.to(dtype).requires_grad_() for x in (blank, label)]
        losses = lattice_loss(*both, lengths, target_lengths)
        found.append([losses, *torch.autograd.grad(losses.sum(), both)])
    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == torch.float32
        assert torch.allclose(exact, rounded.double(), rtol=1e-5, atol=1e-3)


def test_half_precision_is_computed_in_full() -> None:
    both = arcs()
    rounded = tuple(x.detach().bfloat16().requires_grad_() for x in both)
    found = loss(*rounded)
    assert found.dtype == torch.float32
    assert torch.allclose(found, loss(*(x.float() for x in rounded)))
    assert all(x.dtype == torch.bfloat16 for x in torch.autograd.grad(found.sum(), rounded))


def test_without_gradients_the_loss_is_the_same() -> None:
    both = arcs()
    with torch.no_grad():
        assert torch.equal(loss(*both), loss(*both).detach())
    assert torch.equal(loss(*(x.detach() for x in both)), loss(*both).detach())
