"""State trees as a few named tensors, and back."""

from __future__ import annotations

import pytest
import torch
from torch.utils import _pytree as pytree

from leanformer.errors import ExportError
from leanformer.export.graph import Step
from leanformer.export.packing import StatePacking
from leanformer.layers.streaming import Context, tree_map
from leanformer.train.checkpoint import Trained


def test_names_and_shapes_come_from_the_state_tree(step: Step) -> None:
    assert {packed.name: packed.shape for packed in step.packing.tensors} == {
        "subsampling_caches_0": (1, 1, 80),
        "subsampling_caches_1": (1, 4, 40),
        "subsampling_caches_2": (1, 4, 20),
        "layers_keys": (2, 5, 16),
        "layers_values": (2, 5, 16),
        "layers_filled": (),
        "layers_cache": (3, 4, 16),
    }


def test_unpacking_undoes_packing(step: Step) -> None:
    state = step.model.initial_state(3, step.context)
    state = tree_map(lambda leaf: torch.randint(0, 5, leaf.shape).to(leaf.dtype), state)
    counted = torch.tensor([0, 3, 5])
    state = tree_map(lambda leaf: counted if leaf.dtype == torch.int64 else leaf, state)
    packed = step.packing.pack(state)
    assert all(tensor.dtype == torch.float32 and tensor.shape[0] == 3 for tensor in packed)
    again = step.packing.unpack(packed)
    assert pytree.tree_structure(again) == pytree.tree_structure(state)
    pairs = zip(pytree.tree_leaves(again), pytree.tree_leaves(state), strict=True)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def test_counters_that_differ_are_noticed(step: Step) -> None:
    state = step.model.initial_state(2, step.context)
    assert step.packing.disagreement(state) == 0
    leaves, structure = pytree.tree_flatten(state)
    last = max(i for i, leaf in enumerate(leaves) if leaf.dtype == torch.int64)
    leaves[last] = leaves[last] + 2
    assert step.packing.disagreement(pytree.tree_unflatten(leaves, structure)) == 2


def test_an_empty_cache_is_refused(trained: Trained) -> None:
    with pytest.raises(ExportError, match=r"keys has shape \(1, 0, 16\).*left context"):
        StatePacking(trained.model.initial_state(1, Context(4, 0)))
