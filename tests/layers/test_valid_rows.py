"""The valid frames of a batch as rows, and back."""

import pytest
import torch
from torch import Tensor

from leanformer.layers.valid_rows import ValidRows

LENGTHS = [[4, 0, 2], [0, 0, 0], [4, 4, 4], [1, 4, 3]]


def frames(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.arange(3 * 4 * 2, dtype=dtype).reshape(3, 4, 2)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_rows_are_the_valid_frames_in_order_and_go_back_where_they_were(lengths: list[int]) -> None:
    x, rows = frames(), ValidRows(torch.tensor(lengths), 4)
    taken = rows.take(x)
    assert torch.equal(taken, torch.cat([row[:length] for row, length in zip(x, lengths, strict=True)]))
    assert rows.count == sum(lengths)
    back = rows.put(taken, 4)
    for before, after, length in zip(x, back, lengths, strict=True):
        assert torch.equal(after[:length], before[:length])
        assert not after[length:].any()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_gradients_go_the_same_ways(lengths: list[int]) -> None:
    rows = ValidRows(torch.tensor(lengths), 4)
    x = frames(torch.float64).requires_grad_()
    taken = rows.take(x).detach().requires_grad_()
    assert torch.autograd.gradcheck(rows.take, (x,))
    assert torch.autograd.gradcheck(lambda given: rows.put(given, 4), (taken,))


def test_nothing_is_copied_without_padding() -> None:
    x, rows = frames(), ValidRows(torch.tensor([4, 4, 4]), 4)
    assert rows.take(x).data_ptr() == x.data_ptr() == rows.put(rows.take(x), 4).data_ptr()
