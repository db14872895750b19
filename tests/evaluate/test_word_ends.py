"""Ends of words: out of a file, and out of real speech."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from leanformer.data import aligner
from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import DataError, MissingExtraError
from leanformer.evaluate.corpus import Clip
from leanformer.evaluate.word_ends import align_spans, ends_of, read_spans
from leanformer.text.normalization import normalize

CLIPS = Path(__file__).parent.parent / "data"


def clip(name: str, text: str) -> Clip:
    return Clip("c", Utterance(name, Path("x.wav"), text))


def test_from_a_file(tmp_path: Path) -> None:
    records = [
        {"id": "c/a", "phones": [], "words": [["the", 10, 20], ["cat", 50, 7]]},
        {"id": "c/b", "phones": [], "words": [["a", 0, 1]]},  # of another transcript
        {"id": "c/d", "missing": ["zzxqj"]},
        {"id": "c/e", "phones": [["K", 0, 2]]},  # from before words were kept
    ]
    path = tmp_path / "words.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    clips = [clip("a", "the cat"), clip("b", "an"), clip("d", "zzxqj"), clip("e", "k"), clip("f", "gone")]
    ends = ends_of(read_spans(path, clips))
    assert list(ends) == ["c/a"]
    assert ends["c/a"] == pytest.approx((0.3, 0.57))
    with pytest.raises(DataError, match=r"words\.jsonl: does not say when .* `leanformer align`"):
        read_spans(path, clips[1:])


@pytest.mark.parametrize("words", [[["a", 0]], [["a", "x", 1]], 5])
def test_a_file_with_odd_words_is_named(tmp_path: Path, words: object) -> None:
    path = tmp_path / "words.jsonl"
    path.write_text(json.dumps({"id": "c/a", "words": words}) + "\n")
    with pytest.raises(DataError, match=r"words\.jsonl:1: expected"):
        read_spans(path, [clip("a", "a")])


def test_without_pocketsphinx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(MissingExtraError, match=r"pocketsphinx is not installed.*leanformer\[train\]"):
        align_spans([clip("a", "a")])


def test_by_aligning(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pocketsphinx")
    monkeypatch.setattr(aligner, "_spell", lambda word: ())  # as without flite
    with (CLIPS / "utterances.tsv").open() as table:
        rows = sorted(csv.DictReader(table, delimiter="\t"), key=lambda row: float(row["seconds"]))
    row, seconds = rows[0], float(rows[0]["seconds"])
    said = Utterance(row["id"], CLIPS / row["path"], normalize(row["text"]), seconds=seconds / 2)
    clips = [Clip("c", said), Clip("c", replace(said, id="strange", text="zzxqj"))]
    progress: list[tuple[int, int]] = []
    ends = ends_of(align_spans(clips, progress=lambda *counts: progress.append(counts)))
    assert (list(ends), progress) == ([clips[0].name], [(1, 2), (2, 2)])
    found = ends[clips[0].name]
    assert len(found) == len(said.text.split())
    assert list(found) == sorted(found)
    # Of the whole file: the seconds of a layout are rounded, and must not cut it.
    assert seconds / 2 < found[-1] <= seconds + 0.05
