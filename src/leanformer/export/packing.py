"""State at the export edge: the leaves of a state tree as named tensors.

An ONNX graph takes plain tensors. Each cache is one, by the way to its leaf: `.layers[3][1].keys` is `layers_3_1_keys`.
Fewer and larger tensors would be easier on the eye, but a graph has to cut them up and to join them again, which is to
copy every cache twice a step (3 to 6 % of its time in int8, at 12 layers of 256).

A counter (an integer for each row, such as `filled`) counts what the caches beside it hold, so it is equal in all
layers with equal caches, because all see the same frames; for these it is packed once, as float32, which holds every
count up to 2^24 exactly. A runtime thus only ever sees float32.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from leanformer.errors import ExportError

_Shape = tuple[int, ...]


@dataclass(frozen=True)
class PackedTensor:
    """One tensor (B, *shape) of packed state.

    `leaves` are places in the flattened state: that of a cache, or those of all counters that agree. `dtype` is
    a leaf's.
    """

    name: str
    leaves: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def is_counter(self) -> bool:
        """Whether it stands for a number that all its leaves agree on."""
        return not self.dtype.is_floating_point


class StatePacking:
    """How states of one structure are packed; `tensors` in the order of a graph's inputs.

    Raises:
        ExportError: a leaf is empty, or is neither float32 nor one integer for each row.
    """

    def __init__(self, state: Any) -> None:
        """Learn the structure from any state; its values do not matter."""
        leaves, self._structure = pytree.tree_flatten_with_path(state)
        siblings: dict[Any, list[_Shape]] = {}
        for path, leaf in leaves:
            _check(pytree.keystr(path), leaf)
            siblings.setdefault(path[:-1], []).append(tuple(leaf.shape[1:]))
        groups: dict[tuple[str, tuple[_Shape, ...]], list[int]] = {}
        for place, (path, leaf) in enumerate(leaves):
            is_cache = leaf.dtype.is_floating_point
            key = (_name(path), ()) if is_cache else (_attributes(path), tuple(siblings[path[:-1]]))
            groups.setdefault(key, []).append(place)
        names = _numbered([name for name, _ in groups])
        self.tensors = tuple(
            PackedTensor(
                name, tuple(places), tuple(leaves[places[0]][1].shape[1:]), leaves[places[0]][1].dtype
            )
            for name, places in zip(names, groups.values(), strict=True)
        )

    def pack(self, state: Any) -> tuple[Tensor, ...]:
        """State -> one float32 tensor (B, *shape) for each of `tensors`."""
        leaves = pytree.tree_leaves(state)
        return tuple(leaves[packed.leaves[0]].to(torch.float32) for packed in self.tensors)

    def unpack(self, tensors: Sequence[Tensor]) -> Any:
        """The inverse of `pack`."""
        leaves: dict[int, Tensor] = {}
        for packed, tensor in zip(self.tensors, tensors, strict=True):
            leaves |= dict.fromkeys(packed.leaves, tensor.to(packed.dtype))
        return pytree.tree_unflatten([leaves[place] for place in sorted(leaves)], self._structure)

    def disagreement(self, state: Any) -> int:
        """The largest difference between leaves that are packed as one counter; 0 for every sound state."""
        leaves = pytree.tree_leaves(state)
        counters = [
            [leaves[place] for place in packed.leaves] for packed in self.tensors if packed.is_counter
        ]
        return max((int((leaf - group[0]).abs().max()) for group in counters for leaf in group), default=0)


def _name(path: Any) -> str:
    """The attribute names and indices of a key path."""
    keys = (key.name if isinstance(key, pytree.GetAttrKey) else str(key.idx) for key in path)
    return "_".join(keys) or "state"


def _attributes(path: Any) -> str:
    """The attribute names of a key path; what is indexed or looked up stays unnamed."""
    return "_".join(key.name for key in path if isinstance(key, pytree.GetAttrKey)) or "state"


def _numbered(names: Sequence[str]) -> list[str]:
    """The names, with a number where the same one stands for several shapes."""
    total, seen = Counter(names), Counter[str]()
    numbered = []
    for name in names:
        numbered.append(name if total[name] == 1 else f"{name}_{seen[name]}")
        seen[name] += 1
    return numbered


def _check(where: str, leaf: Tensor) -> None:
    if leaf[:1].numel() == 0:
        raise ExportError(
            f"state{where} has shape {tuple(leaf.shape)}: nothing to carry from step to step; "
            "export with a left context of at least one frame, and convolutions of at least two"
        )
    is_counter = leaf.dtype == torch.int64 and leaf.dim() == 1
    if leaf.dtype != torch.float32 and not is_counter:
        raise ExportError(f"state{where} is {leaf.dtype}; export knows float32, and an int64 for each row")
