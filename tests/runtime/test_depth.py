"""Bundles that may be run at several depths, with graphs that count."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from leanformer.errors import BundleError, ConfigError
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.confidence import IDENTITY
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.session import Session
from leanformer.runtime.word_fit import WordFit

Build = Callable[..., Path]


def with_depths(folder: Path, **changes: Any) -> Path:
    """The bundle with two lesser depths, whose graphs are those of the full one."""
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    shallow = [{"depth": depth, "graphs": values["graphs"], "state": values["state"]} for depth in (1, 3)]
    path.write_text(json.dumps({**values, "depth": 4, "shallow": shallow, **changes}))
    return folder


def test_a_depth_is_a_bundle_of_its_own(build_bundle: Build, tmp_path: Path) -> None:
    fitted = asdict(WordFit(confidence={"greedy": IDENTITY}, fitted="here"))
    bundle = Bundle.open(with_depths(build_bundle(tmp_path / "bundle", words=fitted)))
    cut = bundle.at_depth(3)
    assert (cut.manifest.depth, cut.manifest.name) == (3, "counter at depth 3")
    assert bundle.at_depth(4) == bundle.at_depth(None) == bundle
    # What was fitted to the words of four layers says nothing of those of three.
    assert Recognizer.load(bundle.folder).calibrated
    assert not Recognizer.load(bundle.folder, depth=3).calibrated


def test_a_second_pass_reads_the_full_depth_only(build_bundle: Build, tmp_path: Path) -> None:
    bundle = Bundle.open(with_depths(build_bundle(tmp_path / "cascade", passes=2)))
    message = "depth 1: the second pass of 'counter' was trained on what all 4 layers give; add --first-pass"
    with pytest.raises(ConfigError, match=message):
        Recognizer.load(bundle.folder, depth=1)
    assert Recognizer.load(bundle.folder, depth=4).name == "counter int8"
    cut = bundle.at_depth(1, first_pass_only=True)
    assert cut.manifest.second is None
    with pytest.raises(BundleError, match="one pass only"):
        Session(cut, which="second")


def test_an_older_bundle_does_not_say_its_depth(bundle_folder: Path) -> None:
    with pytest.raises(ConfigError, match="exported for its full depth only; leave the depth out, or export"):
        Recognizer.load(bundle_folder, depth=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 3}, "a model of 3 layers cannot be cut off at depth 3"),
        ({"depth": None}, "'depth' is missing"),
        (
            {"shallow": [{"depth": 1, "graphs": {"int8": {"file": "a.onnx"}}, "state": []}]},
            r"not list a\.onnx",
        ),
    ],
)
def test_wrong_depths_are_explained(
    build_bundle: Build, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        Bundle.open(with_depths(build_bundle(tmp_path / "bundle"), **changes))
