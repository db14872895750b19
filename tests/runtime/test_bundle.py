"""What a bundle must be, and what is said about one that is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from leanformer.errors import BundleError
from leanformer.runtime.bundle import Bundle


@pytest.fixture
def bundle(build_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    return build_bundle(tmp_path / "bundle")


def test_an_unharmed_bundle_opens(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert opened.manifest.name == "counter"
    assert opened.manifest.step_ms == 40
    assert [tensor.shape for tensor in opened.manifest.state] == [(1,), (2, 3)]
    assert Bundle.open(str(bundle)) == opened


def test_a_path_that_is_no_bundle(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="is not a folder"):
        Bundle.open(bundle / "manifest.json")
    with pytest.raises(BundleError, match=r"manifest\.json: cannot be read"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("part", ["model.int8.onnx", "tokenizer.model", "MODEL_CARD.md"])
def test_a_missing_or_altered_part_is_named(bundle: Path, part: str) -> None:
    content = (bundle / part).read_bytes()
    (bundle / part).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match=f"{part}: altered since the export"):
        Bundle.open(bundle)
    (bundle / part).unlink()
    with pytest.raises(BundleError, match=f"{part}: .* is missing; "):
        Bundle.open(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2, but this Leanformer reads version 1; upgrade"),
        ({"version": None}, "version None"),
        ({"format": "onnx"}, "not a bundle of Leanformer"),
        ({"name": None}, "'name' is missing, expected str"),
        ({"blank_id": "0"}, "'blank_id' is '0', expected int"),
        ({"subsampling_factor": True}, "'subsampling_factor' is True"),
        ({"subsampling_factor": 0}, "do not fit"),
        ({"default_chunk_ms": 330}, "do not fit steps of 40 ms"),
        ({"max_chunk_ms": 160}, "do not fit"),
        ({"graphs": {}}, "'graphs' is empty"),
        ({"graphs": {"int8": "model.int8.onnx"}}, "'file' is missing"),
        ({"graphs": {"int8": {"file": "other.onnx"}}}, r"does not list other\.onnx"),
        ({"parts": {}}, r"does not list tokenizer\.model"),
        ({"parts": {"../secret": "00"}}, "not a plain file name"),
        ({"state": [{"input": "a", "output": "b", "shape": [1, 2], "dtype": "float32"}]}, "state shape"),
        ({"state": [{"input": "a", "output": "b", "shape": ["batch"], "dtype": "int8"}]}, "not float32"),
        ({"features": {"sample_rate": 16_000}}, "features: missing key"),
    ],
)
def test_a_wrong_manifest_is_explained(
    build_bundle: Callable[..., Path], tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        Bundle.open(build_bundle(tmp_path / "bundle", **changes))


def test_a_second_pass_is_read(build_bundle: Callable[..., Path], bundle: Path, tmp_path: Path) -> None:
    opened = Bundle.open(build_bundle(tmp_path / "cascade", passes=2))
    assert (opened.second.chunk_frames, opened.second.lookahead_frames) == (8, 3)
    assert [tensor.input for tensor in opened.second.state] == ["state_seen"]
    assert opened.graph_path("int8", "second").name == "second.int8.onnx"
    with pytest.raises(BundleError, match=r"no 'fp32' graph; this bundle has int8\."):
        opened.graph_path("fp32", "second")
    single = Bundle.open(bundle)
    assert single.manifest.second is None
    with pytest.raises(BundleError, match="this bundle has one pass only"):
        single.graph_path("int8", "second")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk_frames": None}, "'chunk_frames' is missing, expected int"),
        ({"chunk_frames": 0}, "chunks of 0 frames and 3 of lookahead cannot be"),
        ({"lookahead_frames": -1}, "chunks of 8 frames and -1 of lookahead cannot be"),
        ({"lookahead_frames": True}, "'lookahead_frames' is True"),
        ({"graphs": {}}, "the second pass has no int8 graph"),
        ({"graphs": {"int8": {"file": "other.onnx"}}}, r"does not list other\.onnx"),
        ({"graphs": {"int8": {"file": "../other.onnx"}}}, "not a plain file name"),
        ({"state": [{"input": "a", "output": "b", "shape": [1], "dtype": "float32"}]}, "state shape"),
    ],
)
def test_a_wrong_second_pass_is_explained(
    build_bundle: Callable[..., Path], tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    folder = build_bundle(tmp_path / "bundle", passes=2)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["second"] |= changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=message):
        Bundle.open(folder)
    with pytest.raises(BundleError, match="'second' is 'yes', expected dict"):
        Bundle.open(build_bundle(folder, passes=2, second="yes"))


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_broken_manifest_is_explained(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match=r"manifest\.json: not "):
        Bundle.open(bundle)


def test_a_graph_of_a_precision_that_is_not_there(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"no 'fp32' graph; this bundle has int8\."):
        Bundle.open(bundle).graph_path("fp32")


def test_the_hash_is_of_the_content(bundle: Path) -> None:
    # The control: with the manifest's hash changed along, the other content is accepted.
    (bundle / "MODEL_CARD.md").write_text("It adds.\n")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["parts"]["MODEL_CARD.md"] = hashlib.sha256(b"It adds.\n").hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    Bundle.open(bundle)
