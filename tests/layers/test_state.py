"""State as a value: making state classes, trees of them, caches."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils import _pytree as pytree

from leanformer.layers.streaming import Context, last_frames, stack, state, tree_map, unstack


@state
class Inner:
    cache: Tensor


@state
class Outer:
    """Holds a state, a tuple of them, and a number that is structure."""

    inner: Inner
    more: tuple[Inner, ...]
    size: int


def outer(batch: int, size: int = 3) -> Outer:
    numbers = torch.arange(2.0 * batch).reshape(batch, 2)
    return Outer(Inner(numbers), (Inner(numbers + 1), Inner(numbers + 2)), size)


def test_a_state_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        outer(1).size = 4  # type: ignore[misc]


def test_a_state_is_a_tree_of_its_tensors_and_numbers_are_structure() -> None:
    leaves, spec = pytree.tree_flatten(outer(2))
    assert len(leaves) == 3
    assert all(isinstance(leaf, Tensor) for leaf in leaves)
    assert pytree.tree_unflatten(leaves, spec).size == 3
    assert spec != pytree.tree_structure(outer(2, size=4))


def test_leaves_have_the_names_of_their_places() -> None:
    paths = [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(outer(1))[0]]
    assert paths == [".inner.cache", ".more[0].cache", ".more[1].cache"]


def test_numbers_are_structure_under_deferred_annotations_too() -> None:
    class Late:
        cache: "Tensor"
        size: "int"

    made = state(Late)
    assert len(pytree.tree_leaves(made(torch.zeros(1), 3))) == 1  # type: ignore[call-arg]


def test_tree_map_takes_several() -> None:
    added = tree_map(torch.add, outer(2), outer(2))
    assert isinstance(added, Outer)
    assert torch.equal(added.more[1].cache, 2 * outer(2).more[1].cache)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_unstack_undoes_stack(batches: list[int]) -> None:
    parts = [outer(n) for n in batches]
    rows = [
        (row, more) for part in parts for row, more in zip(part.inner.cache, part.more[0].cache, strict=True)
    ]
    apart = unstack(stack(parts))
    assert len(apart) == len(rows) == sum(batches)
    for single, (row, more) in zip(apart, rows, strict=True):
        assert torch.equal(single.inner.cache, row[None])
        assert torch.equal(single.more[0].cache, more[None])


def test_states_of_different_structure_do_not_stack() -> None:
    with pytest.raises(ValueError, match="mismatch"):
        stack([outer(1, size=3), outer(1, size=4)])


def test_what_cannot_be_unstacked_is_refused() -> None:
    with pytest.raises(ValueError, match="disagree"):
        unstack((torch.zeros(2), torch.zeros(3)))
    with pytest.raises(ValueError, match="without tensors"):
        unstack(())


@settings(max_examples=60)
@given(st.data())
def test_last_frames_are_the_end_of_the_valid_part(data: st.DataObject) -> None:
    count, size = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))
    lengths = data.draw(st.lists(st.integers(0, size), min_size=1, max_size=3))
    frames = torch.randn(len(lengths), count + size, *data.draw(st.sampled_from([(), (2,), (2, 3)])))
    found = last_frames(frames, torch.tensor(lengths), count)
    assert found.shape == (len(lengths), count, *frames.shape[2:])
    for row, source, length in zip(found, frames, lengths, strict=True):
        valid = source[: count + length]  # the old cache and what is valid of the new
        assert torch.equal(row, valid[len(valid) - count :])


@pytest.mark.parametrize(("chunk_size", "left_context"), [(0, 1), (-1, 1), (1, -1)])
def test_impossible_contexts_are_refused(chunk_size: int, left_context: int) -> None:
    with pytest.raises(ValueError, match="chunk_size must be positive"):
        Context(chunk_size, left_context)
