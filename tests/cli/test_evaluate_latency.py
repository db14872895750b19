"""`leanformer evaluate --latency` from the outside, with a stream that hears "counter" text in noise."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from leanformer.cli.app import main
from leanformer.runtime.recognizer import Recognizer

CHUNK_MS, PIECE_MS, WINDOW_MS = 320, 20, 15


@pytest.fixture
def data(bundle_folder: Path, speech: np.ndarray, tmp_path: Path) -> Path:
    """A corpus of one clip, whose transcript is what the bundle hears in it."""
    folder = tmp_path / "one"
    folder.mkdir()
    soundfile.write(folder / "a.wav", speech, 16_000)
    (folder / "a.txt").write_text(Recognizer.load(bundle_folder).transcribe(folder / "a.wav").text)
    return folder


@pytest.fixture
def alignments(bundle_folder: Path, data: Path) -> Path:
    """Words that end where the bundle says they do."""
    words = [
        [word.word, round(word.start * 100), round((word.end - word.start) * 100)]
        for word in Recognizer.load(bundle_folder).transcribe(data / "a.wav").words
    ]
    path = data.parent / "words.jsonl"
    path.write_text(json.dumps({"id": "one/a", "words": words}) + "\n")
    return path


def test_words_come_with_their_chunk(
    bundle_folder: Path, data: Path, alignments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    options = ["--data", data, "--split", "all", "--latency", "--alignments", alignments, "--json", report]
    assert main(["evaluate", str(bundle_folder), *map(str, options)]) == 0
    total = json.loads(report.read_text())["total"]
    latency = total["latency"]
    assert (latency["words"], latency["skipped"]) == (total["words"], 0)
    # A word is there when its last frame's chunk and the window over its end were heard, to one piece.
    first = latency["first_ms"]
    assert WINDOW_MS <= first["p50"] <= first["p95"] <= CHUNK_MS + WINDOW_MS + PIECE_MS
    assert first["p50"] < latency["final_ms"]["p50"]  # a word may grow until the next one begins
    assert latency["with_processing"]["first_ms"]["p50"] > first["p50"]
    out = capsys.readouterr().out
    assert f"{first['p50']:.0f}" in next(line for line in out.splitlines() if "algorithmic" in line)


def test_alignments_are_for_latency(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "lean", "--alignments", "x.jsonl"]) == 2
    assert "--alignments is used by --latency and --times only" in capsys.readouterr().err


def test_without_pocketsphinx(
    bundle_folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    assert main(["evaluate", str(bundle_folder), "--data", str(data), "--split", "all", "--latency"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""  # told before the work, not after it
    assert captured.err.startswith("leanformer: error: pocketsphinx is not installed: ")
    assert "leanformer[train]" in captured.err


def test_a_file_without_words(
    bundle_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.jsonl"
    old.write_text('{"id": "one/a", "phones": [["K", 0, 2]]}\n')
    options = ["--data", data, "--split", "all", "--latency", "--alignments", old]
    assert main(["evaluate", str(bundle_folder), *map(str, options)]) == 1
    assert f"{old}: does not say when the words" in capsys.readouterr().err
