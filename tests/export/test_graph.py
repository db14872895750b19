"""The traced graph does what the model does, at any batch size, length and state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from leanformer.export.graph import Step
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.session import Session

Features = Callable[..., torch.Tensor]


@pytest.fixture(scope="module")
def session(bundle: Path) -> Session:
    return Session(Bundle.open(bundle), "fp32")


def largest_difference(
    step: Step, session: Session, x: torch.Tensor, schedule: list[list[int]], forget: bool = False
) -> float:
    """Between torch and the graph, over log-probs and states of several steps with these lengths."""
    theirs, ours = step.initial_state(len(x)), session.initial_state(len(x))
    found = 0.0
    for lengths in schedule:
        if forget:
            ours = session.initial_state(len(x))
        log_probs, valid, *theirs = step(x, torch.tensor(lengths), *theirs)
        our_log_probs, our_valid, ours = session.step(x.numpy(), np.array(lengths), ours)
        assert our_valid.tolist() == valid.tolist() == [-(-length // 8) for length in lengths]
        for row, count in enumerate(valid.tolist()):
            difference = log_probs[row, :count].detach().numpy() - our_log_probs[row, :count]
            found = max(found, float(np.abs(difference).max(initial=0.0)))
        found = max(
            found, *(float(np.abs(a.detach().numpy() - b).max()) for a, b in zip(theirs, ours, strict=True))
        )
    return found


@pytest.mark.parametrize(
    ("rows", "frames", "schedule"),
    [
        (1, 8, [[8]] * 9),
        (1, 64, [[64], [64], [33]]),
        (3, 32, [[32, 32, 0], [32, 7, 32], [32, 0, 0], [1, 0, 24]]),
        (2, 1024, [[1024, 700]]),
    ],
)
def test_equals_torch(
    step: Step, session: Session, features: Features, rows: int, frames: int, schedule: list[list[int]]
) -> None:
    assert largest_difference(step, session, features(rows, frames), schedule) < 1e-4


def test_a_session_that_forgets_its_state_is_noticed(
    step: Step, session: Session, features: Features
) -> None:
    schedule = [[32], [32], [32]]
    assert largest_difference(step, session, features(1, 32), schedule, forget=True) > 0.01


def test_rows_without_frames_keep_their_state_exactly(session: Session, features: Features) -> None:
    x = features(2, 16).numpy()
    _, _, before = session.step(x, np.array([16, 16]), session.initial_state(2))
    _, _, after = session.step(x, np.array([0, 16]), before)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(before, after, strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(before, after, strict=True))


def test_nan_in_padding_changes_nothing(session: Session, features: Features) -> None:
    x = features(1, 32).numpy()
    lengths = np.array([13])
    clean = session.step(x, lengths, session.initial_state())
    x[:, 13:] = np.nan
    dirty = session.step(x, lengths, session.initial_state())
    assert np.array_equal(clean[0][:, :2], dirty[0][:, :2])
    assert all(np.array_equal(a, b) for a, b in zip(clean[2], dirty[2], strict=True))


def test_what_all_layers_share_is_computed_once(graph: onnx.ModelProto) -> None:
    counts = Counter(node.op_type for node in graph.graph.node)
    assert counts["Cos"] == counts["Sin"] == 1
    assert counts["Or"] == 1  # the attention mask lets every query see itself
    assert counts["GatherElements"] == 0  # an index for every element, where one for every frame would do


def test_weights_of_shared_layers_are_stored_once(graph: onnx.ModelProto, step: Step) -> None:
    stored = sum(np.prod(tensor.dims) for tensor in graph.graph.initializer if tensor.data_type == 1)
    phones = sum(p.numel() for p in step.model.parameters())
    assert stored < 1.1 * phones


def test_nothing_of_this_machine_is_in_a_graph(bundle: Path) -> None:
    for part in bundle.iterdir():
        content = part.read_bytes()
        assert b"site-packages" not in content
        assert b"/home/someone" not in content, part
        assert str(Path(__file__).parents[2]).encode() not in content, part
