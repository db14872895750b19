"""A wrong export is caught."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from leanformer.errors import AudioError, ExportError
from leanformer.export.bundle import FP32, graph_file
from leanformer.export.graph import Step
from leanformer.export.speech import MAX_SECONDS, SAMPLE, Clip, read_clips
from leanformer.export.verify import Check, require_passed, verify_fp32, verify_int8
from leanformer.features.spec import FeatureSpec
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.session import Session
from leanformer.train.checkpoint import Trained


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return read_clips([SAMPLE], FeatureSpec())


def session(folder: Path, precision: str) -> Session:
    """A session of a bundle, whatever became of its parts."""
    opened = Bundle.open(folder)
    return Session(opened, "fp32" if precision == FP32 else "int8")


def values(checks: list[Check]) -> dict[str, float]:
    return {check.key: check.value for check in checks}


def test_a_good_export_passes(bundle: Path, step: Step, clips: list[Clip], trained: Trained) -> None:
    fp32, int8 = session(bundle, "fp32"), session(bundle, "int8")
    checks = verify_fp32(step, fp32, clips, 64)
    require_passed(checks)
    assert 0 < values(checks)["fp32_max"] < 1e-4
    found = values(verify_int8(fp32, int8, clips, 64, trained.tokenizer))
    assert 0 < found["int8_mean"] < found["int8_max"]
    assert 0.9 < found["int8_agreement"] <= 1
    same = values(verify_int8(fp32, fp32, clips, 64, trained.tokenizer))
    assert same == {
        "int8_max": 0,
        "int8_mean": 0,
        "int8_agreement": 1,
        "int8_equal_texts": 1,
        "int8_wer": 0,
    }


def test_a_weight_that_is_a_little_off_fails(
    bundle: Path, step: Step, clips: list[Clip], tmp_path: Path, rehash: Callable[[Path], None]
) -> None:
    folder = shutil.copytree(bundle, tmp_path / "wrong")
    graph = onnx.load(folder / graph_file(FP32))
    weight = next(t for t in graph.graph.initializer if list(t.dims) == [16, 48])
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.01, weight.name))
    onnx.save(graph, folder / graph_file(FP32))
    rehash(folder)
    with pytest.raises(ExportError, match=r"torch - fp32 graph, largest difference: .*at most 0\.001"):
        require_passed(verify_fp32(step, session(folder, "fp32"), clips, 64))


def test_streaming_that_differs_from_offline_fails(bundle: Path, step: Step, clips: list[Clip]) -> None:
    class Forgetful(Session):
        def step(self, features, lengths, state):  # type: ignore[no-untyped-def]
            return super().step(features, lengths, self.initial_state(len(lengths)))

    found = values(verify_fp32(step, Forgetful(Bundle.open(bundle), "fp32"), clips, 64))
    assert found["offline_max"] > 0.1
    assert found["fp32_max"] > 0.1
    assert found["fp32_state_max"] > 0.1


@pytest.mark.parametrize(
    ("value", "bounds", "good"),
    [
        (0.5, {"at_most": 1.0}, True),
        (1.5, {"at_most": 1.0}, False),
        (0.5, {"at_least": 1.0}, False),
        (np.nan, {"at_most": 1.0}, False),
        (np.nan, {"at_least": 1.0}, False),
        (9.0, {}, True),
    ],
)
def test_bounds(value: float, bounds: dict[str, float], good: bool) -> None:
    check = Check("key", "title", value, **bounds)
    assert check.passed is good
    if not good:
        with pytest.raises(ExportError, match="title"):
            require_passed([check])


def test_recordings(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "long.wav", np.zeros(16_000 * (MAX_SECONDS + 5)), 16_000)
    soundfile.write(tmp_path / "short.wav", np.zeros(300), 16_000)
    (found,) = read_clips([tmp_path / "long.wav", tmp_path / "short.wav"], FeatureSpec())
    assert len(found.features) == MAX_SECONDS * 100 - 2
    with pytest.raises(ExportError, match="no speech"):
        read_clips([tmp_path / "short.wav"], FeatureSpec())
    with pytest.raises(AudioError, match=r"gone\.wav"):
        read_clips([tmp_path / "gone.wav"], FeatureSpec())
