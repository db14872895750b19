"""Performer: block by block, frame by frame and as one masked square it is one function, for as long as you like."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leanformer.layers import performer
from leanformer.layers.performer import EPSILON, LONGEST_MEMORY, Performer, PerformerState, random_directions
from leanformer.layers.streaming import Context

ANY = Context(4, 8)
"""What a Performer is told of chunks does not matter."""


def make(dim: int = 8, heads: int = 2, features: int = 6, group: int = 1, rates: Any = None) -> Performer:
    """A layer whose heads forget by `rates`, -log(decay), where those are given."""
    torch.manual_seed(0)
    layer = Performer(dim, heads, features, seed=1, group=group).eval()
    if rates is not None:
        wanted = torch.tensor(rates, dtype=torch.float64) - 1 / LONGEST_MEMORY
        layer.forgetting.data = torch.log(torch.expm1(wanted)).float()
    return layer


def frames(size: int, dim: int = 8, rows: int = 1) -> Tensor:
    return torch.randn(rows, size, dim, generator=torch.Generator().manual_seed(2))


def run(layer: Performer, x: Tensor, lengths: Any = None, state: Any = None) -> tuple[Tensor, PerformerState]:
    lengths = torch.full((len(x),), x.shape[1]) if lengths is None else torch.tensor(lengths)
    state = layer.initial_state(len(x), ANY) if state is None else state
    y, _, state = layer(x, lengths, state)
    return y, state


# Two other forms of the same function, in float64, written from the formulae.


def parts(layer: Performer, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features of query and key (H, T, m), values (H, T, head_dim) and decays (H,) for x (T, D)."""
    projected = x.double() @ layer.query_key_value.weight.double().T + layer.query_key_value.bias.double()
    query, key, value = projected.reshape(len(x), 3, layer.heads, -1).permute(1, 2, 0, 3)
    query, key = (
        (side @ layer.directions.double().transpose(1, 2)).clamp(min=0) + EPSILON for side in (query, key)
    )
    decay = torch.exp(-nn.functional.softplus(layer.forgetting.double()) - 1 / LONGEST_MEMORY)
    return query, key, value, decay


def projected_out(layer: Performer, heads: Tensor) -> Tensor:
    """(H, T, head_dim) -> (T, D)."""
    joined = heads.transpose(0, 1).flatten(1)
    return joined @ layer.project.weight.double().T + layer.project.bias.double()


def step_by_step(layer: Performer, x: Tensor) -> tuple[Tensor, Tensor]:
    """S_t = a S_(t-1) + phi(k_t) v_t^T and so on: the outputs, and S with z as its last column."""
    query, key, value, decay = parts(layer, x)
    total = torch.zeros(layer.heads, key.shape[2], value.shape[2], dtype=torch.float64)
    norm = torch.zeros(layer.heads, key.shape[2], dtype=torch.float64)
    heads = []
    for start in range(0, len(x), layer.group):
        total, norm = decay[:, None, None] * total, decay[:, None] * norm
        for place in range(start, start + layer.group):
            total = total + key[:, place, :, None] * value[:, place, None, :]
            norm = norm + key[:, place]
        for place in range(start, start + layer.group):
            above = (query[:, place, :, None] * total).sum(dim=1)
            heads.append(above / (query[:, place] * norm).sum(dim=1)[:, None])
    return projected_out(layer, torch.stack(heads, dim=1)), torch.cat([total, norm[..., None]], dim=2)


def masked_square(layer: Performer, x: Tensor) -> Tensor:
    """All weights between all tokens, the future's zero."""
    query, key, value, decay = parts(layer, x)
    time = torch.arange(len(x)) // layer.group
    distance = time[:, None] - time
    weights = (query @ key.transpose(1, 2)) * decay[:, None, None] ** distance.clamp(min=0)
    weights = weights * (distance >= 0)
    return projected_out(layer, weights @ value / weights.sum(dim=2, keepdim=True))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Performer, list[int]]:
    """A layer and the sizes of its steps, in tokens."""
    heads, group = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2, 4, 8]))
    rates = draw(st.lists(st.floats(1e-4, 20.0), min_size=heads, max_size=heads))
    layer = make(8, heads, draw(st.integers(1, 9)), group, rates)
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    return layer, [size * group for size in sizes]


@torch.no_grad()
def check_all_forms(layer: Performer, x: Tensor, sizes: list[int], tolerance: float) -> None:
    """In steps of these sizes, in one, frame by frame and as a masked square, for one row x (1, T, D)."""
    expected, sums = step_by_step(layer, x[0])
    assert torch.allclose(masked_square(layer, x[0]), expected, rtol=0, atol=1e-9)
    found, state = [], layer.initial_state(1, ANY)
    for step in torch.split(x, sizes, dim=1):
        y, state = run(layer, step, state=state)
        found.append(y[0])
    whole, last = run(layer, x)
    for one in (torch.cat(found), whole[0]):
        assert torch.allclose(one.double(), expected, rtol=0, atol=tolerance)
    for one in (state.sums[0], last.sums[0]):
        assert torch.allclose(one.double(), sums, rtol=tolerance, atol=tolerance * float(sums.max()))


@settings(max_examples=60)
@given(case=cases())
def test_all_forms_agree_in_any_steps(case: tuple[Performer, list[int]]) -> None:
    """In float64, as a feature near zero, 1e-3 and what ReLU lets pass, has few digits in float32."""
    layer, sizes = case
    check_all_forms(layer.double(), frames(sum(sizes)).double(), sizes, 1e-9)


@pytest.mark.parametrize("group", [1, 8])
@pytest.mark.parametrize("sizes", [[1] * 9, [63, 1, 70], [16] * 10])
def test_all_forms_agree_in_float32(sizes: list[int], group: int) -> None:
    layer = make(64, 4, 32, group)
    check_all_forms(layer, frames(sum(sizes) * group, 64), [size * group for size in sizes], 1e-5)


def test_gradients_are_those_of_the_formula() -> None:
    layer = make(rates=[0.3, 0.01])
    x = frames(150)
    weight = frames(150).double().sin()
    (step_by_step(layer, x[0])[0] * weight[0]).sum().backward()
    expected = {name: parameter.grad for name, parameter in layer.named_parameters()}
    layer.zero_grad(set_to_none=True)
    (run(layer, x)[0] * weight.float()).sum().backward()
    for name, parameter in layer.named_parameters():
        wanted = expected[name]
        assert wanted is not None
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max())), name


@torch.no_grad()
def test_the_block_size_changes_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = make(group=4), frames(100)
    (expected, state) = run(layer, x)
    for block in (4, 32, 256):
        monkeypatch.setattr(performer, "BLOCK", block)
        found, other = run(layer, x)
        assert torch.allclose(found, expected, atol=1e-5)
        assert torch.allclose(other.sums, state.sums, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_future_never_leaks_whatever_the_chunk() -> None:
    layer, x = make(), frames(200)
    expected, _ = run(layer, x)
    for place in (1, 63, 64, 65, 199):
        changed = x.clone()
        changed[:, place:] *= 1e6
        found, _ = run(layer, changed)
        assert torch.equal(found[:, :place], expected[:, :place])
        assert not torch.equal(found[:, place], expected[:, place])


@torch.no_grad()
def test_padding_of_any_size_and_content_changes_nothing() -> None:
    layer, x = make(), frames(70, rows=3)
    lengths = [70, 33, 0]
    _, before = run(layer, frames(5, rows=3))
    expected, after = run(layer, x, lengths, before)
    for size in (70, 200):
        padded = torch.full((3, size, 8), float("nan"))
        for row, length in enumerate(lengths):
            padded[row, :length] = x[row, :length]
        found, other = run(layer, padded, lengths, before)
        for row, length in enumerate(lengths):
            assert torch.allclose(found[row, :length], expected[row, :length], atol=1e-6)
        assert torch.allclose(other.sums, after.sums, rtol=1e-5)
        assert torch.equal(other.sums[2], before.sums[2])


# For days.


@torch.no_grad()
def test_a_million_frames_without_overflow_drift_or_growth() -> None:
    """One head forgets as slowly as any can, one at once, one in between; the state ends where the sum is."""
    size, steps = 1 << 14, 62
    layer = make(6, 3, 2, rates=[1.001 / LONGEST_MEMORY, 30.0, 0.01])
    layer.query_key_value.bias.data += 1.0  # a mean that does not cancel
    x = frames(size * steps, 6)
    assert x.shape[1] > 1_000_000
    state, largest = layer.initial_state(1, ANY), []
    for step in torch.split(x, size, dim=1):
        y, state = run(layer, step, state=state)
        assert y.isfinite().all()
        assert state.sums.isfinite().all()
        largest.append(float(state.sums.abs().max()))
    assert max(largest[steps // 2 :]) < 1.5 * max(largest[: steps // 2])
    _, key, value, decay = parts(layer, x[0])
    value = torch.cat([value, torch.ones_like(value[..., :1])], dim=2)
    bound = (key.amax(dim=(1, 2)) * value.abs().amax(dim=(1, 2)) / (1 - decay)).max()
    assert max(largest) <= float(bound)

    ages = torch.arange(x.shape[1] - 1, -1, -1, dtype=torch.float64)
    exact = (key * decay[:, None, None] ** ages[:, None]).transpose(1, 2) @ value
    assert torch.allclose(state.sums[0].double(), exact, rtol=1e-4, atol=1e-4)
    # A window as long as 16 memories tells the state as well as the whole stream does.
    _, recent = run(layer, x[:, -16 * size :])
    assert torch.allclose(recent.sums, state.sums, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_what_never_changes_settles_at_the_limit_of_the_sum() -> None:
    layer = make(rates=[0.5, 0.002])
    state = layer.initial_state(1, ANY)
    x = frames(1).expand(1, 4096, 8)
    for _ in range(20):
        y, state = run(layer, x, state=state)
    _, key, value, decay = parts(layer, x[0, :1])
    limit = key[:, 0, :, None] * torch.cat([value, torch.ones_like(value[..., :1])], dim=2)
    assert torch.allclose(state.sums[0].double(), limit / (1 - decay)[:, None, None], rtol=1e-4, atol=1e-4)
    assert torch.allclose(y[0, 0], y[0, -1], atol=1e-5)


@torch.no_grad()
def test_the_state_is_as_large_for_any_context() -> None:
    layer = make(16, 4, 5)
    sizes = {layer.initial_state(3, Context(c, left)).sums.shape for c in (1, 64) for left in (0, 7, 4096)}
    assert sizes == {(3, 4, 5, 4 + 1)}


# Numbers.


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e9])
def test_no_input_makes_the_denominator_fail(scale: float) -> None:
    """Whatever the features, an output is a mean of the values: here all of them are one."""
    layer = make()
    layer.query_key_value.weight.data[:16] *= scale
    layer.query_key_value.weight.data[16:] = 0.0
    layer.query_key_value.bias.data[:] = torch.cat([torch.zeros(16), torch.ones(8)])
    layer.project.weight.data = torch.eye(8)
    layer.project.bias.data.zero_()
    y, _ = run(layer, frames(130))
    assert torch.allclose(y, torch.ones_like(y), rtol=1e-4)
    y.sum().backward()
    assert all(
        parameter.grad.isfinite().all() for parameter in layer.parameters() if parameter.grad is not None
    )


@pytest.mark.parametrize("value", [-1e4, -100.0, 0.0, 100.0, 1e4])
def test_whatever_is_learned_the_decay_stays_between_0_and_1(value: float) -> None:
    layer = make()
    layer.forgetting.data.fill_(value)
    y, state = run(layer, frames(300))
    y.square().sum().backward()
    assert layer.forgetting.grad is not None
    assert y.isfinite().all()
    assert state.sums.isfinite().all()
    assert layer.forgetting.grad.isfinite().all()
    x = frames(2)
    (_, first), (_, second) = run(layer, x[:, :1]), run(layer, x)
    alone = run(layer, x[:, 1:])[1].sums
    left = ((second.sums - alone) / first.sums)[0, :, :, -1]  # of z, whose terms are positive
    assert (left < 1.0).all()
    assert (left > -1e-3).all()


@torch.no_grad()
def test_the_sums_are_float32_in_bfloat16_too() -> None:
    layer, x = make(dim=32, features=16), frames(300, 32)
    expected, state = run(layer, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, other = run(layer, x)
    assert found.dtype == torch.bfloat16
    assert other.sums.dtype == torch.float32
    assert (found - expected).abs().max() < 0.02
    # What reaches the sums was rounded once, at the projections; the sums themselves were not.
    assert ((other.sums - state.sums).abs().max() / state.sums.abs().max()) < 2e-3


@torch.no_grad()
def test_weights_in_bfloat16_keep_sums_in_float32() -> None:
    layer, x = make(dim=32, features=16), frames(100, 32)
    expected, _ = run(layer, x)
    found, state = run(layer.bfloat16(), x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert state.sums.dtype == torch.float32
    assert (found - expected).abs().max() < 0.02


# The random directions.


@pytest.mark.parametrize(("features", "head_dim"), [(4, 8), (8, 8), (20, 8), (5, 1)])
def test_directions_are_orthogonal_as_far_as_there_is_room(features: int, head_dim: int) -> None:
    drawn = random_directions(3, features, head_dim, seed=0) * features**0.5
    assert drawn.shape == (3, features, head_dim)
    for block in drawn.split(head_dim, dim=1):
        unit = nn.functional.normalize(block, dim=2)
        assert torch.allclose(
            unit @ unit.transpose(1, 2), torch.eye(block.shape[1]).expand(3, -1, -1), atol=1e-5
        )


def test_directions_are_as_long_as_gaussian_vectors_and_favour_none() -> None:
    drawn = random_directions(400, 16, 16, seed=0) * 4.0
    assert drawn.square().sum(dim=2).mean() == pytest.approx(16, rel=0.05)
    assert drawn.square().sum(dim=2).std() == pytest.approx(32**0.5, rel=0.1)  # of chi squared
    assert drawn.mean(dim=(0, 1)).abs().max() < 0.06


def test_directions_are_drawn_by_seed_alone_and_differ_between_heads() -> None:
    torch.manual_seed(1)
    one = Performer(8, 2, 6, seed=5).directions
    torch.manual_seed(2)
    assert torch.equal(Performer(8, 2, 6, seed=5).directions, one)
    assert not torch.equal(Performer(8, 2, 6, seed=6).directions, one)
    assert not torch.equal(one[0], one[1])
    before = torch.random.get_rng_state()
    random_directions(2, 6, 4, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)


@torch.no_grad()
def test_directions_travel_with_the_weights_and_are_not_trained() -> None:
    layer, other = Performer(8, 2, 6, seed=0), Performer(8, 2, 6, seed=1)
    other.load_state_dict(layer.state_dict())
    x = frames(9)
    assert torch.equal(run(other, x)[0], run(layer, x)[0])
    assert [name for name, _ in layer.named_buffers()] == ["directions"]
    assert "directions" not in dict(layer.named_parameters())


@pytest.mark.parametrize(("heads", "memories"), [(4, [8, 32, 128, 512]), (1, [64])])
def test_memories_are_spread_before_training(heads: int, memories: list[int]) -> None:
    _, _, _, decay = parts(Performer(4 * heads, heads, 2), frames(1, 4 * heads)[0])
    assert (-1 / decay.log()).tolist() == pytest.approx(memories, rel=1e-3)
