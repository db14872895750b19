import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from leanformer.data import align_many, aligner
from leanformer.data.alignment import AlignmentTable, align
from leanformer.data.alignment_file import load_words
from leanformer.data.corpora import load_corpus
from leanformer.data.phones import PHONES, frame_labels, phone_id
from leanformer.errors import DataError

pytest.importorskip("pocketsphinx")
CLIPS = Path(__file__).parent.parent / "data"


def test_the_inventory() -> None:
    assert len(PHONES) == len(set(PHONES)) == 40
    assert [phone_id(phone) for phone in PHONES] == list(range(1, 41))
    assert phone_id("AE1") == phone_id("AE")
    assert phone_id("+SPN+") == phone_id("<sil>") == phone_id("SIL") == 1


def test_labels_of_frames() -> None:
    labels = frame_labels([("SIL", 0, 2), ("K", 2, 3), ("AE", 6, 1)])
    assert labels.tolist() == [1, 1, *[phone_id("K")] * 3, 0, phone_id("AE")]
    assert frame_labels([]).shape == (0,)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the test clips, real speech, and one of them again with a word nobody can pronounce."""
    folder = tmp_path_factory.mktemp("spoken") / "real"
    lines = (CLIPS / "utterances.tsv").read_text().splitlines()
    rows = sorted(lines[1:], key=lambda line: float(line.split("\t")[4]))[:2]
    shutil.copytree(CLIPS / "clips", folder / "clips")
    cells = rows[0].split("\t")
    cells[0], cells[5] = "strange", cells[5] + " zzxqj"
    (folder / "utterances.tsv").write_text("\n".join([lines[0], *rows, "\t".join(cells)]) + "\n")
    return folder


@pytest.fixture(scope="module")
def aligned(spoken: Path) -> Path:
    path = spoken / "phones.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aligner, "_spell", lambda word: ())  # as without flite
        report = align(load_corpus(spoken), path, jobs=1)
    assert (report.aligned, report.unpronounceable, report.failed) == (2, 1, 0)
    return path


def test_phones_cover_the_utterance_in_order(spoken: Path, aligned: Path) -> None:
    table = AlignmentTable.load(aligned)
    assert len(table) == 2
    for cut in load_corpus(spoken):
        if cut.id in table:
            labels = table[cut.id]
            assert labels.dtype == np.uint8
            assert len(labels) == pytest.approx(cut.duration * 100, abs=4)
            assert (labels > 0).all()
            words = len(cut.supervisions[0].text.split())
            phones = 1 + np.count_nonzero(np.diff(labels.astype(int)))
            assert 2 * words <= phones <= 8 * words


def test_words_are_those_of_the_transcript_and_hold_its_phones(spoken: Path, aligned: Path) -> None:
    words = load_words(aligned)
    table = AlignmentTable.load(aligned)
    assert words.keys() == table.keys()
    for cut in load_corpus(spoken):
        if cut.id in table:
            assert [word for word, *_ in words[cut.id]] == cut.supervisions[0].text.split()
            inside = np.zeros(len(table[cut.id]), bool)
            for _, start, frames in words[cut.id]:
                assert frames > 0
                assert not inside[start : start + frames].any()
                inside[start : start + frames] = True
            np.testing.assert_array_equal(inside, table[cut.id] != phone_id("SIL"))


def test_a_run_goes_on_where_it_was_killed(
    spoken: Path, aligned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = aligned.read_text().splitlines(keepends=True)
    part = tmp_path / "part.jsonl"
    part.write_text(lines[0] + lines[1][:30])
    worked: list[str] = []

    def work(task: aligner.Task) -> aligner.Record:
        worked.append(task[0])
        return {"id": task[0], "error": "not today"}

    monkeypatch.setattr(align_many, "work", work)
    report = align(load_corpus(spoken), part, jobs=1)
    first = json.loads(lines[0])["id"]
    assert worked == [cut.id for cut in load_corpus(spoken) if cut.id != first]
    assert (report.aligned, report.failed) == (1, 2)
    assert len(part.read_text().splitlines()) == 3
    assert align(load_corpus(spoken), part, jobs=1) == report
    assert len(worked) == 2


def test_later_files_count_and_old_ids_have_their_corpus_apart(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text(
        '{"id": "u", "corpus": "c", "phones": [["K", 0, 2]]}\n{"id": "c/v", "error": "no path"}\n'
    )
    second.write_text('{"id": "c/u", "phones": [["AE", 0, 1]]}\n')
    assert list(AlignmentTable.load(first)) == ["c/u"]
    assert load_words(first) == {}
    assert AlignmentTable.load(first, second)["c/u"].tolist() == [phone_id("AE")]


def test_files_that_are_no_alignment_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leanformer align"):
        AlignmentTable.load(tmp_path / "missing.jsonl")
    for line in ("oops", "[1]", '{"phones": []}', '{"id": "u", "phones": [["K", 0]]}'):
        (tmp_path / "bad.jsonl").write_text('{"id": "u", "phones": []}\n' + line + "\n")
        with pytest.raises(DataError, match=r"bad\.jsonl:2: expected"):
            AlignmentTable.load(tmp_path / "bad.jsonl")


def test_an_unwritable_output_is_one_clear_line(spoken: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write the alignment"):
        align(load_corpus(spoken), tmp_path / "file" / "phones.jsonl", jobs=1)


def test_flite_spells_what_the_dictionary_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("flite"):
        assert aligner._spell("gathercole")[:1] == ["G"]
        assert aligner._spell("-ps") == ()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert aligner._spell("gathercole") == ()


def test_a_broken_file_does_not_end_the_run(tmp_path: Path, write_tsv: Callable[..., Path]) -> None:
    folder = write_tsv(tmp_path / "c", [("a", "", "train", 0.5, "one two")])
    (folder / "clips" / "a.wav").write_text("no sound")
    report = align(load_corpus(folder), tmp_path / "out.jsonl", jobs=1)
    assert report.failed == 1
    assert "a.wav" in (tmp_path / "out.jsonl").read_text()


def test_processes_find_what_one_finds(
    spoken: Path, aligned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(align_many, "_CHUNK", 1)
    align(load_corpus(spoken), tmp_path / "two.jsonl", jobs=2)
    one, two = AlignmentTable.load(aligned), AlignmentTable.load(tmp_path / "two.jsonl")
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
