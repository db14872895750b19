"""What every streaming layer owes: state is a value, and offline is one large step from the initial state."""

from typing import Any

import pytest
import torch
from contract_cases import CASES, Case, build
from contract_steps import (
    another,
    batch,
    close,
    complete,
    every_layer,
    every_stateful_layer,
    in_equal_steps,
    in_steps,
    offline,
    row,
    run,
    same,
    signal,
    whole,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from leanformer.layers.streaming import Context, stack, unstack

GARBAGE = (float("nan"), float("inf"), float("-inf"), 1e30)


# Offline is one large step.


@every_layer
@pytest.mark.parametrize("multiples", [(1,), (2,), (3, 1, 2)], ids=["1x", "2x", "ragged"])
def test_steps_equal_one_large_step(case: Case, multiples: tuple[int, ...]) -> None:
    length = 7 * case.step + case.step // 2 + 1
    rows = signal(case, length)
    schedule = in_equal_steps(length, *(case.step * multiple for multiple in multiples))
    (found,), _ = in_steps(case, rows, schedule)
    assert len(found) == -(-length // case.stride)
    assert close(found, offline(case, rows)[0])


@every_stateful_layer
def test_control_steps_without_their_state_differ(case: Case) -> None:
    length = 7 * case.step + case.step // 2 + 1
    rows = signal(case, length)
    (found,), _ = in_steps(case, rows, in_equal_steps(length, case.step), forget=True)
    expected = offline(case, rows)[0]
    assert found.shape == expected.shape
    assert not close(found, expected)
    assert (found - expected).abs().max() > 1e-2  # far from what rounding does


@st.composite
def any_steps(draw: st.DrawFn, case: Case) -> tuple[list[int], list[list[int]], int]:
    """Lengths of three rows, a schedule in which each goes its own pace, and padding."""
    lengths = draw(st.lists(st.integers(0, 5 * case.step), min_size=3, max_size=3))
    left, schedule = list(lengths), []
    for multiples in draw(st.lists(st.tuples(*[st.integers(0, 2)] * 3), max_size=4)):
        schedule.append([min(n, case.step * m) for n, m in zip(left, multiples, strict=True)])
        left = [n - taken for n, taken in zip(left, schedule[-1], strict=True)]
    return lengths, [*schedule, left], draw(st.integers(0, case.step))


@every_layer
@settings(max_examples=15)
@given(data=st.data())
def test_rows_of_any_lengths_in_any_steps(case: Case, data: st.DataObject) -> None:
    lengths, schedule, padding = data.draw(any_steps(case))
    rows = signal(case, *lengths)
    found, _ = in_steps(case, rows, schedule, padding=padding)
    for output, expected in zip(found, offline(case, rows), strict=True):
        assert close(output, expected)


@every_layer
def test_a_last_step_of_any_length(case: Case) -> None:
    lengths = range(2 * case.step, 3 * case.step + 1)
    rows = signal(case, *lengths)
    found, _ = in_steps(case, rows, [[case.step] * len(rows), [n - case.step for n in lengths]])
    for output, expected in zip(found, offline(case, rows), strict=True):
        assert close(output, expected)


@every_layer
def test_in_full_context_the_chunk_is_the_whole_row(case: Case) -> None:
    layer: Any = build(case)
    long, short = signal(case, 9 * case.stride, 5 * case.stride + 1)
    x, lengths = batch([long, short])
    with torch.no_grad():
        found, _ = complete(layer, x, lengths, Context(9, 0))
        alone, _ = complete(layer, short[None], lengths[1:], Context(6, 0))
        wider, _ = complete(layer, short[None], lengths[1:], Context(100, 7))
        x[0, -1] = another(case)
        other, _ = complete(layer, x, lengths, Context(9, 0))
    assert close(found[1, : alone.shape[1]], alone[0])
    assert close(wider, alone)
    assert torch.equal(other[0, 0], found[0, 0]) != case.attends  # the first frame sees the last


# What an output sees.


@every_layer
def test_nothing_leaks_from_beyond_the_declared_lookahead(case: Case) -> None:
    (x,) = signal(case, 6 * case.step + case.lookahead + 1)
    expected = whole(case, x)
    for groups in range(1, 6):
        changed = x.clone()
        changed[groups * case.step + case.lookahead :] = 1e6 * another(case)
        found = whole(case, changed)
        assert torch.equal(found[: groups * case.group], expected[: groups * case.group])
        assert not torch.equal(found, expected)


@every_layer
def test_everything_up_to_the_declared_lookahead_is_seen(case: Case) -> None:
    """Without this, the test above would pass for a layer that sees too little, or nothing."""
    (x,) = signal(case, 6 * case.step + case.lookahead + 1)
    expected = whole(case, x)
    for groups in range(1, 6):
        changed = x.clone()
        changed[groups * case.step + case.lookahead - 1] = another(case)
        first = (groups - 1) * case.group
        assert not torch.equal(whole(case, changed)[first], expected[first])


@pytest.mark.parametrize("case", [c for c in CASES if c.reach is not None], ids=str)
def test_the_past_is_seen_as_far_as_declared_and_no_farther(case: Case) -> None:
    assert case.reach is not None
    start = -(-(case.reach + 1) // case.step) * case.step  # of a group with more than its reach before it
    (x,) = signal(case, start + case.step)
    expected = whole(case, x)[start // case.stride :]
    changed = x.clone()
    changed[: start - case.reach] = 1e6 * another(case)
    assert torch.equal(whole(case, changed)[start // case.stride :], expected)
    changed = x.clone()
    changed[start - case.reach] = another(case)
    assert not torch.equal(whole(case, changed)[start // case.stride], expected[0])


# Padding and rows.


@every_layer
@pytest.mark.parametrize("fill", GARBAGE, ids=str)
def test_what_the_padding_holds_changes_nothing(case: Case, fill: float) -> None:
    first = batch(signal(case, 2 * case.step, 0, case.step), size=2 * case.step + 3)
    last = batch(signal(case, case.step + case.step // 2, case.step, 0, seed=2), size=3 * case.step)
    states: list[Any] = [None, None]
    given_out = 0
    for x, lengths in (first, last):
        hidden = torch.arange(x.shape[1]) >= lengths[:, None]
        y, out_lengths, states[0] = run(case, x, lengths, states[0])
        found, _, states[1] = run(case, x.masked_fill(hidden[:, :, None], fill), lengths, states[1])
        valid = torch.arange(y.shape[1]) < out_lengths[:, None]
        given_out += int(valid.sum())
        assert torch.equal(found[valid], y[valid])
        assert same(*states)
    assert given_out > 0


@every_layer
def test_a_row_without_frames_keeps_its_state(case: Case) -> None:
    _, _, before = run(case, *batch(signal(case, 2 * case.step, 3 * case.step)))
    x, lengths = batch(signal(case, 0, 2 * case.step, seed=2), fill=float("nan"))
    _, out_lengths, after = run(case, x, lengths, before)
    assert out_lengths[0] == 0
    assert same(row(after, 0), row(before, 0))
    if case.stateful:
        assert not same(row(after, 1), row(before, 1))


@every_layer
def test_rows_are_independent(case: Case) -> None:
    x, lengths = batch(signal(case, 3 * case.step, 3 * case.step))
    expected, _, state = run(case, x, lengths)
    other = torch.stack([1e3 * signal(case, 3 * case.step, seed=3)[0], x[1]])
    found, _, other_state = run(case, other, lengths)
    assert torch.equal(found[1], expected[1])
    assert same(row(other_state, 1), row(state, 1))
    assert not torch.equal(found[0], expected[0])


@every_stateful_layer
def test_clients_states_make_a_batch_and_come_apart_again(case: Case) -> None:
    clients = signal(case, 3 * case.step, case.step, 2 * case.step)
    further = signal(case, case.step, 2 * case.step, case.step // 2, seed=2)
    states = [run(case, client[None], torch.tensor([len(client)]))[2] for client in clients]
    together = stack(states)
    assert all(same(*pair) for pair in zip(unstack(together), states, strict=True))

    y, out_lengths, together = run(case, *batch(further, size=case.step), together)
    for index, apart in enumerate(unstack(together)):
        alone = batch([further[index]], size=case.step)
        expected, _, expected_state = run(case, *alone, states[index])
        size = int(out_lengths[index])
        assert close(y[index, :size], expected[0, :size])
        leaves = zip(pytree.tree_leaves(apart), pytree.tree_leaves(expected_state), strict=True)
        assert all(close(leaf, expected_leaf) for leaf, expected_leaf in leaves)
