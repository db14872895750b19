"""State trees as a few named tensors, and back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from leanformer.config import (
    BlockConfig,
    EncoderConfig,
    FoldConfig,
    ModelConfig,
    PerformerAttentionConfig,
    SoftmaxAttentionConfig,
    SubsamplingConfig,
)
from leanformer.errors import ExportError
from leanformer.export.graph import Step
from leanformer.export.packing import StatePacking
from leanformer.layers.streaming import Context, tree_map
from leanformer.model import SpeechModel
from leanformer.train.checkpoint import Trained


def test_names_and_shapes_come_from_the_state_tree(step: Step) -> None:
    assert {packed.name: packed.shape for packed in step.packing.tensors} == {
        "subsampling_caches_0": (1, 1, 80),
        "subsampling_caches_1": (1, 4, 40),
        "subsampling_caches_2": (1, 4, 20),
        "layers_0_1_keys": (5, 16),
        "layers_0_1_values": (5, 16),
        "layers_filled": (),
        "layers_0_2_cache": (4, 16),
        "layers_1_1_cache": (4, 16),
        "layers_2_1_keys": (5, 16),
        "layers_2_1_values": (5, 16),
        "layers_2_2_cache": (4, 16),
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


# Layers whose caches differ.


def mixed_state(rows: int = 1) -> Any:
    """That of a model with attention of two widths, of which one is folded, and with a Performer and without."""
    block = BlockConfig(ffn_dim=8, kernel_size=3, attention=SoftmaxAttentionConfig(heads=2))
    blocks = (
        block,
        block.model_copy(update={"left_context": 3}),
        block.model_copy(update={"fold": FoldConfig(factor=2)}),
        block.model_copy(update={"attention": PerformerAttentionConfig(heads=2, features=6)}),
        block.model_copy(update={"order": ("ffn", "conv", "ffn")}),
    )
    config = EncoderConfig(
        model_dim=8, subsampling=SubsamplingConfig(channels=2), blocks=blocks, layer_map=(4, 0, 1, 2, 3, 0, 2)
    )
    return SpeechModel(ModelConfig(vocabulary_size=5, encoder=config)).initial_state(rows, Context(4, 5))


def test_counters_of_equal_caches_are_packed_as_one_and_others_apart() -> None:
    packing = StatePacking(mixed_state())
    shapes = {packed.name: packed.shape for packed in packing.tensors if packed.name.startswith("layers")}
    counters = {
        name: len(packed.leaves) for packed in packing.tensors if (name := packed.name) and packed.is_counter
    }
    assert counters == {"layers_filled_0": 2, "layers_filled_1": 1, "layers_filled_2": 2}
    assert [name for name, shape in shapes.items() if shape == ()] == list(counters)
    assert {name: shape for name, shape in shapes.items() if "cache" not in name and shape} == {
        "layers_1_1_keys": (5, 8),
        "layers_1_1_values": (5, 8),
        "layers_2_1_keys": (3, 8),
        "layers_2_1_values": (3, 8),
        "layers_3_1_keys": (10, 4),
        "layers_3_1_values": (10, 4),
        "layers_4_1_sums": (2, 6, 5),
        "layers_5_1_keys": (5, 8),
        "layers_5_1_values": (5, 8),
        "layers_6_1_keys": (10, 4),
        "layers_6_1_values": (10, 4),
    }


def test_counters_of_unequal_caches_may_differ_and_come_back_as_they_were() -> None:
    state = mixed_state(3)
    counted = {5: [1, 5, 0], 3: [1, 3, 0], 10: [2, 10, 0]}  # by frames in the cache
    leaves, structure = pytree.tree_flatten(state)
    for place, leaf in enumerate(leaves):
        if leaf.dtype == torch.int64:
            leaves[place] = torch.tensor(counted[leaves[place - 1].shape[1]])
    state = pytree.tree_unflatten(leaves, structure)
    packing = StatePacking(state)
    assert packing.disagreement(state) == 0
    again = pytree.tree_leaves(packing.unpack(packing.pack(state)))
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(again, leaves, strict=True))

    last = max(place for place, leaf in enumerate(leaves) if leaf.dtype == torch.int64)
    leaves[last] = leaves[last] + 1
    assert packing.disagreement(pytree.tree_unflatten(leaves, structure)) == 1


def test_an_empty_cache_is_refused(trained: Trained) -> None:
    with pytest.raises(ExportError, match=r"keys has shape \(1, 0, 16\).*left context"):
        StatePacking(trained.model.initial_state(1, Context(4, 0)))
