"""State is a value: a frozen tree of tensors of constant size, in and out. And what training asks of a layer."""

import copy
import dataclasses
from typing import Any

import pytest
import torch
from contract_cases import CASES, Case, build
from contract_steps import batch, close, complete, every_layer, run, same, signal, whole
from torch import Tensor
from torch.utils import _pytree as pytree


@every_layer
def test_the_state_is_a_frozen_tree_of_tensors_that_starts_at_zero(case: Case) -> None:
    layer: Any = build(case)
    initial = layer.initial_state(3, case.context)
    _, _, later = run(case, *batch(signal(case, case.step, 0, case.step)), initial)
    for state in (initial, later):
        assert_frozen(state)
        leaves, spec = pytree.tree_flatten(state)
        assert all(isinstance(leaf, Tensor) and leaf.shape[0] == 3 for leaf in leaves)
        again = pytree.tree_unflatten(leaves, spec)
        assert type(again) is type(state)
        assert pytree.tree_structure(again) == pytree.tree_structure(initial)
    assert all(not leaf.any() for leaf in pytree.tree_leaves(initial))
    if case.stateful:
        assert any(leaf.any() for leaf in pytree.tree_leaves(later))


def assert_frozen(node: Any) -> None:
    if isinstance(node, tuple):
        for item in node:
            assert_frozen(item)
    elif dataclasses.is_dataclass(node):
        for field in dataclasses.fields(node):
            assert_frozen(getattr(node, field.name))
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(node, field.name, None)
    else:
        assert isinstance(node, Tensor | int)


@every_layer
def test_a_step_changes_neither_its_arguments_nor_the_layer(case: Case) -> None:
    weights = copy.deepcopy(build(case).state_dict())
    x, lengths = batch(signal(case, 2 * case.step, case.step))
    _, _, state = run(case, x, lengths)
    arguments = x, lengths, state
    kept = pytree.tree_map(torch.clone, arguments)
    y, _, following = run(case, *arguments)
    again, _, following_again = run(case, *arguments)
    assert same(arguments, kept)
    assert torch.equal(y, again)
    assert same(following, following_again)
    assert same(build(case).state_dict(), weights)


@every_layer
def test_a_long_stream_needs_no_more_memory_than_a_short_one(case: Case) -> None:
    """20,000 frames: sizes stay, values stay in bounds, and the distant past leaves no trace."""
    layer: Any = build(case)
    size = -(-320 // case.step) * case.step
    (x,) = signal(case, -(-20_000 // size) * size)
    state = layer.initial_state(1, case.context)
    shapes = [leaf.shape for leaf in pytree.tree_leaves(state)]
    largest: list[float] = []
    lengths = torch.tensor([size])
    for part in torch.split(x[None], size, dim=1):
        y, _, state = run(case, part, lengths, state)
        leaves = pytree.tree_leaves(state)
        assert [leaf.shape for leaf in leaves] == shapes
        largest.append(max((float(leaf.abs().max()) for leaf in [*leaves, y] if leaf.numel()), default=0.0))
    half = len(largest) // 2
    assert max(largest[half:]) <= 1.5 * max(largest[:half])
    if case.reach is not None:
        warm = -(-case.reach // size) * size
        assert close(y[0], whole(case, x[-warm - size :])[-y.shape[1] :])


# Training.


@pytest.mark.parametrize(
    ("case", "fill"),
    [(c, fill) for c in CASES for fill in (0.0, float("nan")) if fill == 0.0 or c.cleans],
    ids=str,
)
def test_gradients_are_finite_and_padding_gets_none(case: Case, fill: float) -> None:
    """A layer inside an encoder never meets NaN in training: the subsampling has replaced it."""
    layer: Any = copy.deepcopy(build(case)).train()
    x, lengths = batch(signal(case, 3 * case.step + 1, 0, case.step), fill=fill)
    x.requires_grad_()
    y, out_lengths = complete(layer, x, lengths, case.context)
    valid = torch.arange(y.shape[1]) < out_lengths[:, None]
    y[valid].square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    assert x.grad is not None
    padding = torch.arange(x.shape[1]) >= lengths[:, None]
    assert not x.grad[padding].any()
    assert x.grad[~padding].any(dim=-1).all()
