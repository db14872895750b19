"""Ways to run a streaming layer, in one step or in any, over rows of any lengths; and to compare."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from contract_cases import CASES, Case, build
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from leanformer.layers.streaming import Context

every_layer = pytest.mark.parametrize("case", CASES, ids=str)
every_stateful_layer = pytest.mark.parametrize("case", [c for c in CASES if c.stateful], ids=str)

Schedule = Sequence[Sequence[int]]
"""For each step, how many frames each row gets."""


def signal(case: Case, *lengths: int, seed: int = 1) -> list[Tensor]:
    """Random rows, each (length, dim)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, case.dim, generator=generator).double() for length in lengths]


def batch(rows: Sequence[Tensor], size: int = 1, fill: float = 0.0) -> tuple[Tensor, Tensor]:
    """Rows side by side, (B, T, dim) with T >= size, and their lengths (B,)."""
    lengths = torch.tensor([len(row) for row in rows])
    shape = len(rows), max(size, int(lengths.max())), rows[0].shape[1]
    x = torch.full(shape, fill, dtype=rows[0].dtype)
    for place, row in zip(x, rows, strict=True):
        place[: len(row)] = row
    return x, lengths


@torch.no_grad()
def offline(case: Case, rows: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of each row, alone and in one large step from the initial state."""
    return [in_steps(case, [row], [[len(row)]])[0][0] for row in rows]


@torch.no_grad()
def in_steps(
    case: Case, rows: Sequence[Tensor], schedule: Schedule, *, padding: int = 0, forget: bool = False
) -> tuple[list[Tensor], Any]:
    """The outputs of rows that are stepped together, and the last state.

    `padding` frames are added to every step; `forget` starts every step from the initial state, which is wrong, and
    has a layer with lookahead finish each.
    """
    layer: Any = build(case)
    state = layer.initial_state(len(rows), case.context)
    left = list(rows)
    outputs: list[list[Tensor]] = [[] for _ in rows]
    for frames in schedule:
        taken = [row[:count] for row, count in zip(left, frames, strict=True)]
        left = [row[count:] for row, count in zip(left, frames, strict=True)]
        if forget:
            state = layer.initial_state(len(rows), case.context)
        x, lengths = batch(taken, size=case.step)
        x = torch.cat([x, x.new_zeros(len(rows), padding, case.dim)], dim=1)
        y, lengths, state = layer(x, lengths, state)
        _add(outputs, y, lengths)
        if forget and hasattr(layer, "finish"):
            _add(outputs, *layer.finish(state))
    if not forget and hasattr(layer, "finish"):
        _add(outputs, *layer.finish(state))
    assert all(len(row) == 0 for row in left), "the schedule ends before the rows do"
    return [torch.cat(found) for found in outputs], state


def _add(outputs: list[list[Tensor]], y: Tensor, lengths: Tensor) -> None:
    for row, length, found in zip(y, lengths.tolist(), outputs, strict=True):
        found.append(row[:length])


def in_equal_steps(length: int, *sizes: int) -> list[list[int]]:
    """A schedule for one row of steps of the given sizes, over and over; the last one is cut."""
    return [[count] for count in _cut(length, sizes)]


def _cut(length: int, sizes: Sequence[int]) -> Iterator[int]:
    place = 0
    while length > 0:
        yield min(length, sizes[place % len(sizes)])
        length -= sizes[place % len(sizes)]
        place += 1


def close(found: Tensor, expected: Tensor) -> bool:
    """Equal but for rounding."""
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def run(case: Case, x: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Tensor, Any]:
    """One step of a batch, from the initial state unless another is given."""
    layer: Any = build(case)
    with torch.no_grad():
        state = layer.initial_state(len(x), case.context) if state is None else state
        result: tuple[Tensor, Tensor, Any] = layer(x, lengths, state)
    return result


def whole(case: Case, x: Tensor) -> Tensor:
    """Outputs of one row x (T, dim) in one step: (T', dim')."""
    with torch.no_grad():
        return complete(build(case), x[None], torch.tensor([len(x)]), case.context)[0][0]


def complete(layer: Any, x: Tensor, lengths: Tensor, context: Context) -> tuple[Tensor, Tensor]:
    """Outputs of whole rows (B, T', dim') and their lengths: one step, and what a layer with lookahead held back."""
    y, lengths, state = layer(x, lengths, layer.initial_state(len(x), context))
    if not hasattr(layer, "finish"):
        return y, lengths
    rest, more = layer.finish(state)
    rows = [
        torch.cat([a[:n], b[:m]]) for a, n, b, m in zip(y, lengths.tolist(), rest, more.tolist(), strict=True)
    ]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths + more


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal bit for bit."""
    leaves, others = pytree.tree_leaves(one), pytree.tree_leaves(other)
    return len(leaves) == len(others) and all(map(torch.equal, leaves, others))


def another(case: Case) -> Tensor:
    """A frame that stands nowhere in the signal, (dim,)."""
    return signal(case, 1, seed=99)[0][0]


def row(state: Any, index: int) -> Any:
    """One row of a state."""
    return pytree.tree_map(lambda leaf: leaf[index], state)
