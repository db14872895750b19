import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from leanformer.model import NUM_PHONES, PHONE_SLOT_FRAMES
from leanformer.train.objective import ctc_loss, phone_loss, phone_targets

torch.set_num_threads(1)

VOCABULARY = 5
LENGTHS = torch.tensor([12, 9, 7])
TARGETS = torch.tensor([[1, 2, 2, 3], [4, 1, 0, 0], [3, 0, 0, 0]])
TARGET_LENGTHS = torch.tensor([4, 2, 1])


@pytest.fixture
def log_probs() -> Tensor:
    """Three rows of twelve frames, (3, 12, V)."""
    logits = torch.randn(3, 12, VOCABULARY, generator=torch.Generator().manual_seed(0))
    return logits.log_softmax(dim=-1).requires_grad_()


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(loss, of, retain_graph=True)[0]


def test_ctc_is_torchs_in_nats_per_token(log_probs: Tensor) -> None:
    summed = F.ctc_loss(log_probs.transpose(0, 1), TARGETS, LENGTHS, TARGET_LENGTHS, reduction="sum")
    loss = ctc_loss(log_probs, LENGTHS, TARGETS, TARGET_LENGTHS)
    assert loss.item() == pytest.approx(summed.item() / 7, rel=1e-5)
    assert torch.allclose(gradient(loss, log_probs), gradient(summed, log_probs) / 7, atol=1e-6)


def test_ctc_is_the_sum_over_all_paths() -> None:
    """Two frames, one token: the paths are aa, -a and a-."""
    log_probs = torch.randn(1, 2, 3).log_softmax(dim=-1)
    blank, token = log_probs[0, :, 0].exp(), log_probs[0, :, 2].exp()
    paths = token[0] * token[1] + blank[0] * token[1] + token[0] * blank[1]
    loss = ctc_loss(log_probs, torch.tensor([2]), torch.tensor([[2]]), torch.tensor([1]))
    assert loss.item() == pytest.approx(-math.log(paths.item()), rel=1e-5)


def test_empty_rows_count_for_nothing(log_probs: Tensor) -> None:
    loss = ctc_loss(log_probs[:2], LENGTHS[:2], TARGETS[:2], TARGET_LENGTHS[:2])
    for frames in (0, 7):  # a row without sound, and one with sound that says nothing
        lengths = torch.tensor([12, 9, frames])
        found = ctc_loss(log_probs, lengths, TARGETS, torch.tensor([4, 2, 0]))
        assert found.item() == pytest.approx(loss.item(), rel=1e-6)
        assert torch.allclose(gradient(found, log_probs)[:2], gradient(loss, log_probs)[:2])
        assert not gradient(found, log_probs)[2].any()


def test_a_batch_of_empty_rows_has_no_loss(log_probs: Tensor) -> None:
    nothing = torch.zeros(3, dtype=torch.int64)
    for lengths in (nothing, LENGTHS):
        loss = ctc_loss(log_probs, lengths, TARGETS, nothing)
        assert loss.item() == 0.0
        assert not gradient(loss, log_probs).any()


def test_a_target_that_does_not_fit_is_left_out(log_probs: Tensor) -> None:
    lengths = torch.tensor([12, 9, 1])
    targets = torch.tensor([[1, 2, 2, 3], [4, 1, 0, 0], [3, 1, 0, 0]])
    loss = ctc_loss(log_probs, lengths, targets, torch.tensor([4, 2, 2]))
    assert loss.isfinite()
    assert gradient(loss, log_probs).isfinite().all()
    assert not gradient(loss, log_probs)[2].any()


def test_padding_of_targets_and_frames_may_hold_anything(log_probs: Tensor) -> None:
    expected = ctc_loss(log_probs, LENGTHS, TARGETS, TARGET_LENGTHS)
    beyond = torch.arange(4) >= TARGET_LENGTHS[:, None]
    for value in (-1, 10_000):
        targets = TARGETS.masked_fill(beyond, value)
        assert torch.equal(ctc_loss(log_probs, LENGTHS, targets, TARGET_LENGTHS), expected)
    late = torch.arange(12) >= LENGTHS[:, None]
    other = log_probs.masked_fill(late[:, :, None], -3.0)
    assert torch.equal(ctc_loss(other, LENGTHS, TARGETS, TARGET_LENGTHS), expected)


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, NUM_PHONES - 1), max_size=21), min_size=1, max_size=3), st.integers(0, 7)
)
def test_a_slots_phone_is_that_of_its_middle_frame(rows: list[list[int]], slots: int) -> None:
    size = max(map(len, rows))
    phones = torch.tensor([row + [0] * (size - len(row)) for row in rows], dtype=torch.int64)
    expected = [[0] * slots for _ in rows]
    for row, wanted in zip(rows, expected, strict=True):
        for slot in range(slots):
            middle = slot * PHONE_SLOT_FRAMES + PHONE_SLOT_FRAMES // 2
            if middle < len(row):
                wanted[slot] = row[middle]
    assert phone_targets(phones, slots).tolist() == expected


def test_slots_lie_in_the_order_of_time() -> None:
    """Two slots to an encoder frame: a head that says the right phone in every slot is all right."""
    phones = torch.arange(1, 7).repeat_interleave(PHONE_SLOT_FRAMES)[None]  # six slots, one phone each
    logits = torch.zeros(1, 3, 2, NUM_PHONES)
    for frame in range(3):
        for slot in range(2):
            logits[0, frame, slot, 2 * frame + slot + 1] = 20.0
    loss, accuracy = phone_loss(logits, phones)
    assert accuracy == 1.0
    assert loss < 1e-3
    assert phone_loss(logits.flip(2), phones)[1] == 0.0


def test_unlabelled_frames_count_for_nothing() -> None:
    logits = torch.randn(2, 3, 1, NUM_PHONES, requires_grad=True)
    phones = torch.zeros(2, 12, dtype=torch.int64)
    phones[0, 2], phones[0, 6] = 5, 7
    loss, accuracy = phone_loss(logits, phones)
    expected = F.cross_entropy(logits[0, :2, 0], torch.tensor([5, 7]))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert accuracy == (logits[0, :2, 0].argmax(-1) == torch.tensor([5, 7])).float().mean()
    grad = gradient(loss, logits)
    assert grad[0, :2].any()
    assert not grad[0, 2].any()
    assert not grad[1].any()


def test_a_batch_without_labels_has_no_phone_loss() -> None:
    logits = torch.randn(2, 3, 1, NUM_PHONES, requires_grad=True)
    loss, accuracy = phone_loss(logits, torch.zeros(2, 12, dtype=torch.int64))
    assert loss == accuracy == 0.0
    assert not gradient(loss, logits).any()
