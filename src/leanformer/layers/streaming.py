"""The streaming contract: state is a value, and offline is one large step from the initial state.

A streaming layer maps `(x, lengths, state)` to `(y, lengths, state)`. Nothing is remembered anywhere else,
so the same code serves training, whole files, live audio and export.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar, dataclass_transform

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """How far attention sees, in encoder frames.

    Frames are grouped into chunks of `chunk_size`; a frame sees its whole chunk and `left_context` frames
    before the chunk. A chunk as long as the input is full context.
    """

    chunk_size: int
    left_context: int

    def __post_init__(self) -> None:
        if self.chunk_size < 1 or self.left_context < 0:
            raise ValueError(f"chunk_size must be positive and left_context not negative: {self}")


class Streaming(Protocol[S]):
    """What every layer offers. Frames are counted at the layer's own input.

    A step may hold any number of frames per row, given by `lengths`; a row with none keeps its state.
    Mid-stream, a step must hold a multiple of `chunk_size` (and of the stride) frames.
    """

    def initial_state(self, batch_size: int, context: Context) -> S:
        """The state of `batch_size` streams before their first frame."""
        ...

    def __call__(self, x: Tensor, lengths: Tensor, state: S) -> tuple[Tensor, Tensor, S]:
        """`x` (B, T, D), valid frames `lengths` (B,), state -> y (B, T', D'), lengths (B,), state."""
        ...


@dataclass_transform(frozen_default=True)
def state(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass and a pytree: tensors and states are leaves, ints are structure."""
    made: Any = dataclass(frozen=True)(cls)
    static = [
        f.name for f in fields(made) if f.type in (int, "int")
    ]  # a string where annotations are deferred
    leaves = [f.name for f in fields(made) if f.name not in static]

    def flatten(value: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(value, name) for name in leaves], tuple(getattr(value, name) for name in static)

    def unflatten(children: Any, context: Any) -> Any:
        return made(**dict(zip(leaves, children, strict=True)), **dict(zip(static, context, strict=True)))

    def flatten_with_keys(value: Any) -> tuple[list[Any], tuple[Any, ...]]:
        children, context = flatten(value)
        return [(pytree.GetAttrKey(n), c) for n, c in zip(leaves, children, strict=True)], context

    pytree.register_pytree_node(
        made,
        flatten,
        unflatten,
        serialized_type_name=f"{made.__module__}.{made.__qualname__}",
        flatten_with_keys_fn=flatten_with_keys,
    )
    return made  # type: ignore[no-any-return]


def tree_map(function: Callable[..., Tensor], *trees: S) -> S:
    """Apply a function to the tensors at the same place of one or more states."""
    return pytree.tree_map(function, *trees)  # type: ignore[no-any-return]


def stack(states: Sequence[S]) -> S:
    """Make one batched state out of many clients' states (batch is the first axis of every leaf)."""
    return tree_map(lambda *leaves: torch.cat(leaves), *states)


def unstack(batched: S) -> list[S]:
    """Split a batched state into states of batch size 1, the inverse of `stack`."""
    sizes = {leaf.shape[0] for leaf in pytree.tree_leaves(batched)}
    if not sizes:
        raise ValueError("a state without tensors does not tell its batch size; there is nothing to unstack")
    if len(sizes) != 1:
        raise ValueError(f"state leaves disagree on the batch size: {sorted(sizes)}")
    return [tree_map(lambda leaf, i=i: leaf[i : i + 1], batched) for i in range(sizes.pop())]


def last_frames(frames: Tensor, lengths: Tensor, count: int) -> Tensor:
    """The `count` frames that end each row's valid part: the next cache.

    Args:
        frames: (B, count + T, ...), the old cache followed by the new frames.
        lengths: (B,), how many of the T new frames are valid.
        count: frames to keep.

    Returns:
        (B, count, ...); a row of length 0 gets its old cache back.
    """
    rows, size = frames.shape[:2]
    starts = torch.arange(rows, device=frames.device) * size + lengths
    # Whole frames are picked by one index each; `gather` would need an index for every element of them.
    return frames.flatten(0, 1)[starts[:, None] + torch.arange(count, device=frames.device)]
