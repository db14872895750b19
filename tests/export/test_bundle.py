"""The folder: whole or not there, and never over something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from leanformer.errors import ExportError
from leanformer.export.bundle import check_target, staged
from leanformer.runtime.bundle import Bundle


def test_the_manifest_says_all_that_a_runtime_needs(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert list(manifest) == [
        *("format", "version", "name", "created", "leanformer_version", "licence", "features", "blank_id"),
        *("vocabulary_size", "subsampling_factor", "default_chunk_ms", "max_chunk_ms", "left_context_frames"),
        *("depth", "decoders", "graphs", "inputs", "state", "outputs", "metrics", "parts"),
    ]
    assert manifest["licence"] == "CC0-1.0"
    assert (manifest["subsampling_factor"], manifest["left_context_frames"]) == (8, 5)
    assert (manifest["default_chunk_ms"], manifest["max_chunk_ms"]) == (640, 10_240)
    assert manifest["inputs"]["features"] == {"shape": ["batch", "frames", 80], "dtype": "float32"}
    assert {
        "input": "state_layers_2_1_keys",
        "output": "next_state_layers_2_1_keys",
        "shape": ["batch", 5, 16],
        "dtype": "float32",
    } in manifest["state"]
    assert set(manifest["parts"]) == {path.name for path in bundle.iterdir()} - {"manifest.json"}
    assert manifest["metrics"]["total"]["wer"] == 0.4321
    assert "worst" not in manifest["metrics"]
    assert manifest["metrics"]["export"]["fp32_max"] < 1e-3


def test_the_runtime_reads_the_same(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    assert (manifest.name, manifest.vocabulary_size, manifest.step_ms) == ("tiny", 4, 80)
    assert [tensor.shape for tensor in manifest.state if tensor.input == "state_layers_filled"] == [()]


def test_the_card_is_for_people(bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "| books | 40.0 % |  | 19.0 % | 60 |" in card
    assert "| total | 43.2 % | 41.0 % to 45.0 % | 20.0 % | 100 |" in card
    assert "without an4" in card
    assert "77 steps" in card
    assert "CC0-1.0" in (bundle / "LICENCE.md").read_text()


def test_a_folder_in_use_is_refused(bundle: Path, tmp_path: Path) -> None:
    check_target(tmp_path / "new", force=False)
    check_target(tmp_path, force=False)  # empty: somebody made it for this
    with pytest.raises(ExportError, match="add --force"):
        check_target(bundle, force=False)
    check_target(bundle, force=True)
    (tmp_path / "thesis.tex").write_text("years of work")
    for target in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(ExportError, match="is not a bundle"):
            check_target(target, force=True)


def write_half(target: Path, error: Exception) -> None:
    with staged(target) as folder:
        (folder / "manifest.json").write_text("half")
        raise error


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "manifest.json").write_text("old")
    with pytest.raises(ExportError, match="went wrong"):
        write_half(target, ExportError("went wrong"))
    assert (target / "manifest.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_said_in_words(tmp_path: Path) -> None:
    with (
        pytest.raises(ExportError, match=r"model: cannot write the bundle \(No space left"),
        staged(tmp_path / "model"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_replaces_another_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    for version in ("first", "second"):
        with staged(target) as folder:
            (folder / version).write_text(version)
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in target.parent.iterdir()] == ["model"]
