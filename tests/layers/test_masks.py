"""Masks against their definition, written as loops over single frames."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leanformer.layers.masks import attention_mask, valid_frames


def may_see(query: int, key: int, chunk_size: int, left_context: int, filled: int, length: int) -> bool:
    """Both counted from the first frame of the step: cached keys are negative."""
    if key == query:
        return True
    if not (-filled <= key < length):
        return False  # neither a real cached frame nor a real new one
    first = (query // chunk_size) * chunk_size
    return first - left_context <= key < first + chunk_size


@settings(max_examples=150)
@given(st.data())
def test_attention_mask_is_its_definition(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 12), label="size")
    chunk_size = data.draw(st.integers(1, 14), label="chunk_size")
    left_context = data.draw(st.integers(0, 9), label="left_context")
    rows = data.draw(
        st.lists(st.tuples(st.integers(0, left_context), st.integers(0, size)), min_size=1, max_size=3)
    )
    filled, lengths = torch.tensor(rows).unbind(dim=1)
    expected = [
        [
            [may_see(q, k, chunk_size, left_context, *row) for k in range(-left_context, size)]
            for q in range(size)
        ]
        for row in rows
    ]
    mask = attention_mask(size, chunk_size, left_context, filled, lengths)
    assert mask.dtype == torch.bool
    assert mask.tolist() == expected


def test_attention_mask_drawn() -> None:
    """Two chunks of two after a cache of three of which two are real; the last frame is padding."""
    (mask,) = attention_mask(4, 2, 3, torch.tensor([2]), torch.tensor([3]))
    drawn = ["".join(".x"[seen] for seen in row) for row in mask.tolist()]
    assert drawn == [
        # cache, then the step
        ".xx" + "xx..",
        ".xx" + "xx..",
        "..x" + "xxx.",
        "..x" + "xxxx",  # padding sees itself, so that no softmax is empty
    ]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(0, 9))
def test_valid_frames_is_its_definition(lengths: list[int], size: int) -> None:
    expected = [[frame < length for frame in range(size)] for length in lengths]
    assert valid_frames(torch.tensor(lengths), size).tolist() == expected


@pytest.mark.parametrize("chunk_size", [7, 8, 100])
def test_a_chunk_as_long_as_the_step_hides_only_padding(chunk_size: int) -> None:
    mask = attention_mask(7, chunk_size, 0, torch.tensor([0, 0]), torch.tensor([7, 4]))
    assert mask[0].all()
    assert mask[1, :, :4].all()
    assert not mask[1, :4, 4:].any()
