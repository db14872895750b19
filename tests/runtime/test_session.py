"""The step function: state in and out, rows of a batch apart, and graphs that do not fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from leanformer.errors import BundleError, ConfigError
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.session import Session


@pytest.fixture(scope="module")
def session(bundle_folder: Path) -> Session:
    return Session(Bundle.open(bundle_folder))


def loud(batch: int, frames: int) -> np.ndarray:
    return np.full((batch, frames, 80), 15.0, np.float32)


def lengths(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_state_goes_in_and_out(session: Session) -> None:
    start = session.initial_state(3)
    assert [tensor.shape for tensor in start] == [(3, 1), (3, 2, 3)]
    log_probs, log_prob_lengths, state = session.step(loud(3, 32), lengths(32, 32, 30), start)
    assert log_probs.shape[:2] == (3, 8)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=2), 1, rtol=1e-5)
    assert log_prob_lengths.tolist() == [8, 8, 8]
    assert state[0].ravel().tolist() == [32, 32, 30]
    assert all(not tensor.any() for tensor in start)


def test_two_steps_are_one_large_step(session: Session) -> None:
    whole, _, end = session.step(loud(1, 96), lengths(96), session.initial_state())
    first, _, state = session.step(loud(1, 32), lengths(32), session.initial_state())
    second, _, state = session.step(loud(1, 64), lengths(64), state)
    np.testing.assert_array_equal(whole, np.concatenate([first, second], axis=1))
    np.testing.assert_array_equal(end[0], state[0])


def test_both_passes_step_alike(session: Session, cascade_folder: Path) -> None:
    cascade = Bundle.open(cascade_folder)
    first, second = Session(cascade), Session(cascade, which="second")
    assert (first.width, second.width) == (80, 1)
    log_probs, encoded, valid, state = first.step_encoded(
        loud(2, 64), lengths(64, 48), first.initial_state(2)
    )
    for found, expected in zip(
        first.step(loud(2, 64), lengths(64, 48), first.initial_state(2))[:2], (log_probs, valid), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert encoded.shape == (2, 16, 1)
    log_probs, valid, state = second.step(encoded[:, :11], np.minimum(valid, 11), second.initial_state(2))
    assert log_probs.shape[:2] == (2, 8)
    assert valid.tolist() == [8, 8]
    assert [tensor.tolist() for tensor in state] == [[[8], [8]]]
    log_probs, valid, state = second.step(encoded[:, 8:], lengths(8, 4), state)
    assert valid.tolist() == [5, 4]
    assert [tensor.tolist() for tensor in state] == [[[13], [12]]]


def test_a_pass_that_is_not_there(
    session: Session, build_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="this bundle has one pass only"):
        Session(session.bundle, which="second")
    folder = build_bundle(tmp_path / "bundle", passes=2)
    single = build_bundle(tmp_path / "single")
    content = (single / "model.int8.onnx").read_bytes()
    (folder / "model.int8.onnx").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["parts"]["model.int8.onnx"] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="the graph lacks the output 'encoder_out'"):
        Session(Bundle.open(folder))


def test_int8_is_preferred_and_named(session: Session, bundle_folder: Path) -> None:
    assert session.precision == "int8"
    with pytest.raises(BundleError, match="no 'fp32' graph"):
        Session(Bundle.open(bundle_folder), "fp32")


def test_threads_must_be_positive(bundle_folder: Path) -> None:
    with pytest.raises(ConfigError, match="threads = 0"):
        Session(Bundle.open(bundle_folder), threads=0)


def test_a_state_that_the_graph_does_not_know(build_bundle: Callable[..., Path], tmp_path: Path) -> None:
    state = [{"input": "state_odd", "output": "next_state_odd", "shape": ["batch", 1], "dtype": "float32"}]
    with pytest.raises(BundleError, match="lacks the input 'state_"):
        Session(Bundle.open(build_bundle(tmp_path / "bundle", state=state)))


def test_a_graph_that_is_no_graph(build_bundle: Callable[..., Path], tmp_path: Path) -> None:
    folder = build_bundle(tmp_path / "bundle")
    (folder / "model.int8.onnx").write_bytes(b"not a graph")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["parts"]["model.int8.onnx"] = hashlib.sha256(b"not a graph").hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"model\.int8\.onnx: ONNX Runtime cannot load this graph"):
        Session(Bundle.open(folder))
