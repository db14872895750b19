"""BatchNorm against torch's own, on padded batches, in bfloat16, over micro-batches and over processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from leanformer.config import BlockConfig, EncoderConfig, ModelConfig, NormName, SubsamplingConfig
from leanformer.encoder.block import Block
from leanformer.layers.linear import Linear
from leanformer.layers.normalization import BatchNorm, NoNorm, make_appended_norm, make_norm
from leanformer.layers.streaming import Context
from leanformer.model import NUM_BINS, SpeechModel

DIM = 5
LENGTHS = torch.tensor([7, 0, 4, 1])
VALID = torch.arange(7) < LENGTHS[:, None]
FULL = torch.tensor([7] * 4)


def signal(seed: int = 0) -> Tensor:
    """(4, 7, DIM), of another mean and variance in each channel."""
    x = torch.randn(4, 7, DIM, generator=torch.Generator().manual_seed(seed))
    return x * torch.linspace(2.0, 4.0, DIM) + torch.linspace(-20.0, 30.0, DIM)


def pair() -> tuple[BatchNorm, nn.BatchNorm1d]:
    """Ours and torch's, with equal weights."""
    torch.manual_seed(1)
    ours, theirs = BatchNorm(DIM), nn.BatchNorm1d(DIM)
    with torch.no_grad():
        for a, b in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
            b.copy_(a.normal_())
    return ours, theirs


def assert_close(found: Tensor | None, expected: Tensor | None) -> None:
    assert found is not None
    assert expected is not None
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def assert_same_state(ours: BatchNorm, theirs: nn.BatchNorm1d) -> None:
    assert_close(ours.mean, theirs.running_mean)
    assert_close(ours.variance, theirs.running_var)


def test_is_torchs_own_on_batches_without_padding() -> None:
    ours, theirs = pair()
    for seed in range(3):
        x, other = signal(seed).requires_grad_(), signal(seed).flatten(0, 1).requires_grad_()
        found, expected = ours(x, FULL), theirs(other)
        assert_close(found.flatten(0, 1), expected)
        found.pow(3).sum().backward()
        expected.pow(3).sum().backward()
        assert x.grad is not None
        assert_close(x.grad.flatten(0, 1), other.grad)
        assert_close(ours.weight.grad, theirs.weight.grad)
        assert_close(ours.bias.grad, theirs.bias.grad)
        assert_same_state(ours, theirs)
    x = signal(9)
    assert_close(ours.eval()(x, FULL).flatten(0, 1), theirs.eval()(x.flatten(0, 1)))


@pytest.mark.parametrize("fill", [0.0, 1e30, float("nan"), float("inf")])
def test_padding_never_counts(fill: float) -> None:
    """Torch's norm gets the valid frames alone."""
    ours, theirs = pair()
    x, other = (
        signal().masked_fill(~VALID[:, :, None], fill).requires_grad_(),
        signal()[VALID].requires_grad_(),
    )
    found, expected = ours(x, LENGTHS), theirs(other)
    assert_close(found[VALID], expected)
    assert not found[~VALID].any()
    found.pow(3).sum().backward()  # padding included: what comes out of there is a constant
    expected.pow(3).sum().backward()
    assert x.grad is not None
    assert_close(x.grad[VALID], other.grad)
    assert not x.grad[~VALID].any()
    assert_close(ours.weight.grad, theirs.weight.grad)
    assert_close(ours.bias.grad, theirs.bias.grad)
    assert_same_state(ours, theirs)


def test_gradients_are_right_where_a_norm_runs_twice() -> None:
    """As in a shared layer: its running statistics change between the two, which no gradient may notice."""
    torch.manual_seed(0)
    layer = Linear(3, 3, "batch").double()
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([4, 3])
    assert torch.autograd.gradcheck(lambda x: layer(layer(x, lengths).sigmoid(), lengths), (x,))


def test_statistics_are_float32_for_bfloat16() -> None:
    """A mean of 30 with a deviation of 4 would be off by 0.1 in sums of bfloat16."""
    ours, theirs = pair()
    x = signal().bfloat16().requires_grad_()
    found = ours(x, LENGTHS)
    found.float().pow(3).sum().backward()
    expected = theirs(x.detach().float()[VALID])
    assert found.dtype == torch.bfloat16
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert ours.weight.grad is not None
    assert ours.weight.grad.dtype == torch.float32
    torch.testing.assert_close(found[VALID].float(), expected, rtol=1e-2, atol=1e-2)
    assert ours.mean.dtype == ours.variance.dtype == torch.float32
    assert_same_state(ours, theirs)


def test_autocast_gives_what_float32_gives_but_for_rounding() -> None:
    torch.manual_seed(0)
    layer = Linear(DIM, 16, "batch")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(signal(), LENGTHS)
    assert found.dtype == torch.bfloat16
    expected = layer(signal(), LENGTHS)
    assert (found.float() - expected)[VALID].abs().max() < 0.1
    assert layer.norm is not None
    assert layer.norm.mean.dtype == torch.float32


def test_micro_batches_have_statistics_of_their_own_and_each_moves_the_running_ones() -> None:
    """What accumulated gradients are: the sum over micro-batches; not the gradient of one large batch."""
    ours, _ = pair()
    apart = []
    for seed in range(2):
        alone, _ = pair()
        alone(signal(seed), LENGTHS).pow(3).sum().backward()
        apart.append(alone.weight.grad)
        ours(signal(seed), LENGTHS).pow(3).sum().backward()
    assert_close(ours.weight.grad, sum(apart))
    whole, _ = pair()
    whole(torch.cat([signal(0), signal(1)]), torch.cat([LENGTHS, LENGTHS])).pow(3).sum().backward()
    assert ours.weight.grad is not None
    assert whole.weight.grad is not None
    assert (ours.weight.grad - whole.weight.grad).abs().max() > 0.01
    first, second = (signal(seed)[VALID].mean(dim=0) for seed in range(2))
    assert_close(ours.mean, 0.9 * (0.1 * first) + 0.1 * second)


@pytest.mark.parametrize("frames", [0, 1])
def test_a_batch_with_no_variance_goes_by_the_running_statistics(frames: int) -> None:
    ours, _ = pair()
    ours(signal(), LENGTHS)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    x = signal(1).requires_grad_()
    lengths = torch.tensor([0, frames, 0, 0])
    found = ours(x, lengths)
    found.pow(3).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
    assert_close(found[1, :frames], ours.eval()(x, lengths)[1, :frames])


@pytest.mark.parametrize("shares", ["even", "uneven", "one without frames", "one frame in all", "no frames"])
def test_processes_have_the_statistics_and_gradients_of_one_with_all_rows(two: Path, shares: str) -> None:
    """Compare two gloo processes with one, over two calls in a row."""
    given, *found = (torch.load(two / f"{shares}-{name}.pt") for name in ("given", 0, 1))
    ours, _ = pair()
    for x, lengths, *sent in zip(given["x"], given["lengths"], *(one["calls"] for one in found), strict=True):
        x.requires_grad_()
        y = ours(x, lengths)
        y.pow(3).sum().backward()
        assert_close(torch.cat([one["y"] for one in sent]), y)
        assert_close(torch.cat([one["gradient"] for one in sent]), x.grad)
    assert_close(sum(one["weight"] for one in found), ours.weight.grad)
    assert_close(sum(one["bias"] for one in found), ours.bias.grad)
    for one in found:
        assert_close(one["mean"], ours.mean)
        assert_close(one["variance"], ours.variance)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes made of batches whose rows they shared out, for each way to share them."""
    folder = tmp_path_factory.mktemp("processes")
    lengths = {
        "even": [7, 7, 7, 7],
        "uneven": [7, 0, 4, 1],
        "one without frames": [7, 5, 0, 0],
        "one frame in all": [0, 0, 1, 0],
        "no frames": [0, 0, 0, 0],
    }
    for name, frames in lengths.items():
        given = {"x": [signal(0), signal(1)], "lengths": [torch.tensor(frames)] * 2}
        torch.save(given | {"norm": pair()[0].state_dict()}, folder / f"{name}-given.pt")
    worker = Path(__file__).with_name("synchronized_worker.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    running = [
        subprocess.Popen([sys.executable, worker, str(rank), folder, *lengths], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(120) for process in running] == [0, 0]
    return folder


# Where norms stand.


def test_only_batch_is_appended_and_then_there_is_no_bias_before_it() -> None:
    assert [make_appended_norm(kind, 3) for kind in ("layer", "batch_in_place", "none")] == [None] * 3
    assert Linear(3, 4).bias is not None
    layer = Linear(3, 4, "batch")
    assert isinstance(layer.norm, BatchNorm)
    assert layer.bias is None


def test_norms_in_place_by_name() -> None:
    kinds: list[type] = [type(make_norm(kind, 3)) for kind in ("batch_in_place", "batch", "none")]
    assert kinds == [BatchNorm, NoNorm, NoNorm]


@pytest.mark.parametrize(
    ("gate", "convolution"), [("none", 3 * 8), ("glu", (2 + 1 + 1) * 8), ("wide", (2 + 2 + 1) * 8)]
)
def test_a_block_has_a_norm_after_every_linear_and_convolution(gate: str, convolution: int) -> None:
    """Of PAPERS' eleven sites, query, key and value are one linear layer here, so there are nine modules."""
    config = BlockConfig(ffn_dim=12, kernel_size=3)
    encoder = EncoderConfig.model_validate(
        {"model_dim": 8, "blocks": (config,), "norm": "batch", "conv_gate": gate}
    )
    norms = [module for module in Block(config, encoder).modules() if isinstance(module, BatchNorm)]
    assert len(norms) == 9
    assert sum(len(norm.weight) for norm in norms) == 2 * (12 + 8) + (3 * 8 + 8) + convolution


@pytest.mark.parametrize("norm", ["layer", "batch", "batch_in_place", "none"])
def test_every_kind_trains(norm: NormName) -> None:
    """The controls too: in so small a model, nothing diverges in thirty steps."""
    torch.manual_seed(0)
    block = BlockConfig(ffn_dim=16, kernel_size=3)
    config = EncoderConfig(
        model_dim=16,
        subsampling=SubsamplingConfig(channels=4),
        blocks=(block,) * 2,
        norm=norm,
        activation="relu",
    )
    model = SpeechModel(ModelConfig(vocabulary_size=6, encoder=config))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    x, lengths = torch.randn(4, 64, NUM_BINS), torch.tensor([64, 50, 64, 20])
    losses = []
    for _ in range(30):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model.train_outputs(x, lengths, Context(16, 0))
        targets = torch.tensor([[1, 2, 3]] * 4)
        loss = nn.functional.ctc_loss(
            out.log_probs.transpose(0, 1), targets, out.lengths, torch.tensor([3] * 4)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
