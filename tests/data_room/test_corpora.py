import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from leanformer.data.corpora import load_corpus, read_corpus
from leanformer.data.layouts.selection import default_data_folder, in_split
from leanformer.data.waveforms import WaveformCache
from leanformer.errors import DataError

Write = Callable[..., Path]


def texts(cuts: CutSet) -> dict[str, str]:
    return {cut.id: cut.supervisions[0].text for cut in cuts}


def test_tsv_gives_ids_splits_speakers_and_durations(small_corpus: Path) -> None:
    cuts = list(load_corpus(small_corpus, "train"))
    assert [cut.id for cut in cuts] == [f"tones/u{i:02}" for i in range(10)]
    third = cuts[2]
    assert third.duration == pytest.approx(0.7)
    assert third.supervisions[0].speaker == "s2"
    assert third.supervisions[0].custom == {"corpus": "tones", "split": "train"}
    assert [cut.id for cut in load_corpus(small_corpus, "dev")] == ["tones/u10", "tones/u11"]
    assert len(list(load_corpus(small_corpus))) == 12


def test_tsv_seconds_spare_opening_the_files(small_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile, "info", None)
    assert len(list(load_corpus(small_corpus))) == 12


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("id\tpath\na\tb.wav\n", "no column text"),
        ("id\tpath\ttext\na\tb.wav\tone\ttwo\n", r"utterances\.tsv:2: 4 cells, expected 3"),
        ("id\tpath\tseconds\ttext\na\tb.wav\tlong\tone\n", "seconds is 'long'"),
        ("", "no column id, path, text"),
    ],
)
def test_a_broken_table_is_named(tmp_path: Path, table: str, told: str) -> None:
    (tmp_path / "utterances.tsv").write_text(table)
    with pytest.raises(DataError, match=told):
        load_corpus(tmp_path)


@pytest.fixture
def librispeech(tmp_path: Path, write_clip: Write) -> Path:
    """As the archive unpacks: LibriSpeech/train-clean-5/SPEAKER/CHAPTER, and a dev split."""
    for split, speaker in (("train-clean-5", "19"), ("train-clean-5", "26"), ("dev-clean-2", "84")):
        chapter = tmp_path / "LibriSpeech" / split / speaker / "198"
        write_clip(chapter / f"{speaker}-198-0000.flac", 0.5)
        write_clip(chapter / f"{speaker}-198-0001.flac", 0.75)
        (chapter / f"{speaker}-198.trans.txt").write_text(
            f"{speaker}-198-0000 NORTHANGER ABBEY\n{speaker}-198-0001 THIS LITTLE WORK\n"
        )
    return tmp_path / "LibriSpeech"


def test_librispeech_tree_split_and_the_folder_above(librispeech: Path) -> None:
    expected = [f"train-clean-5/{s}-198-000{i}" for s in (19, 26) for i in (0, 1)]
    for path in (librispeech.parent, librispeech, librispeech / "train-clean-5"):
        cuts = list(load_corpus(path, "train-clean-5", normalize=str.lower))
        assert [cut.id for cut in cuts] == expected
    assert cuts[1].supervisions[0].text == "this little work"
    assert cuts[1].supervisions[0].speaker == "19"
    assert cuts[1].duration == pytest.approx(0.75)
    assert [cut.id for cut in load_corpus(librispeech, "train")] == expected
    assert len(list(load_corpus(librispeech, "dev"))) == 2


def test_librispeech_line_without_audio_is_counted(librispeech: Path) -> None:
    (librispeech / "dev-clean-2/84/198/84-198-0001.flac").unlink()
    cuts, report = read_corpus(librispeech, "dev")
    assert (len(list(cuts)), report.missing_audio, report.examples) == (1, 1, ("dev-clean-2/84-198-0001",))


def test_pairs_of_audio_and_text(tmp_path: Path, write_clip: Write) -> None:
    folder = tmp_path / "mine"
    for name, rate in (("train/ann/a", 16_000), ("train/ann/b", 44_100), ("dev/c", 8_000)):
        write_clip(folder / f"{name}.wav", 0.5, rate=rate)
        (folder / f"{name}.txt").write_text(f"\ufeffHello from\n{name[-1]}\n")
    write_clip(folder / "train/ann/untold.wav")
    cuts, report = read_corpus(folder, "train")
    assert texts(cuts) == {"mine/train/ann/a": "Hello from a", "mine/train/ann/b": "Hello from b"}
    assert report.empty_text == 1
    assert {cut.supervisions[0].speaker for cut in cuts} == {"ann"}
    assert all(cut.duration == pytest.approx(0.5) for cut in cuts)
    assert texts(load_corpus(folder, "dev")) == {"mine/dev/c": "Hello from c"}


def test_pairs_without_splits_are_for_training(tmp_path: Path, write_clip: Write) -> None:
    write_clip(tmp_path / "plain" / "a.flac")
    (tmp_path / "plain" / "a.txt").write_text("hello")
    for split in ("train", "all", None):
        assert len(list(load_corpus(tmp_path / "plain", split))) == 1
    with pytest.raises(DataError, match=r"split .dev.*none, which counts as .train."):
        load_corpus(tmp_path / "plain", "dev")


def test_simple_jsonl(tmp_path: Path, write_clip: Write) -> None:
    write_clip(tmp_path / "clips" / "a.wav", 0.5)
    absolute = write_clip(tmp_path / "elsewhere" / "b.wav", 0.25)
    rows = [
        {"audio": "clips/a.wav", "text": "one two", "speaker": "ann", "split": "train", "mood": "good"},
        {"audio": str(absolute), "text": "three", "id": "b", "split": "dev", "duration": 0.25},
    ]
    manifest = tmp_path / "talk.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert texts(load_corpus(manifest)) == {"talk/clips/a": "one two", "talk/b": "three"}
    first, second = load_corpus(manifest)
    assert (first.duration, second.duration) == (0.5, 0.25)
    assert texts(load_corpus(tmp_path, "dev")) == {f"{tmp_path.name}/b": "three"}
    with gzip.open(tmp_path / "talk.jsonl.gz", "wt") as packed:
        packed.write(manifest.read_text())
    assert len(list(load_corpus(tmp_path / "talk.jsonl.gz"))) == 2


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ("{oops", "not JSON lines"),
        ("[1, 2]", "not an object"),
        ('{"audio": "a.wav"}', r'talk\.jsonl:2: expected {"audio"'),
        ('{"audio": "a.wav", "text": "x", "duration": "long"}', "duration is 'long'"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path: Path, second: str, told: str) -> None:
    (tmp_path / "talk.jsonl").write_text('{"audio": "a.wav", "text": "x"}\n' + second + "\n")
    with pytest.raises(DataError, match=told):
        load_corpus(tmp_path / "talk.jsonl")


def test_lhotse_cuts_come_apart_by_supervision_and_channel(
    tmp_path: Path, tone: Callable[..., np.ndarray]
) -> None:
    stereo = np.stack([tone(2.0, 300.0), np.zeros(32_000, np.float32)], axis=1)
    soundfile.write(tmp_path / "long.wav", stereo, 16_000)
    recording = Recording.from_file(tmp_path / "long.wav")
    segments = [
        SupervisionSegment("first", recording.id, 0.25, 0.5, channel=0, text="one", speaker="ann"),
        SupervisionSegment("second", recording.id, 1.0, 0.75, channel=1, text="two", custom={"split": "dev"}),
    ]
    cut = MonoCut("long", 0.0, 2.0, 0, segments, recording=recording)
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl.gz")
    cuts = load_corpus(tmp_path / "cuts.jsonl.gz")
    assert texts(cuts) == {"cuts/first": "one", "cuts/second": "two"}
    waveforms = WaveformCache(tmp_path / "cache").open(cuts)
    assert waveforms.lengths.tolist() == [[8_000], [12_000]]
    assert np.abs(waveforms.read(0)).max() > 10_000
    assert np.abs(waveforms.read(1)).max() == 0
    assert texts(load_corpus(tmp_path / "cuts.jsonl.gz", "dev")) == {"cuts/second": "two"}


def test_corpora_of_a_folder_are_joined(tmp_path: Path, small_corpus: Path, librispeech: Path) -> None:
    shutil.copytree(small_corpus, tmp_path / "tones")
    shutil.copytree(small_corpus, tmp_path / "aside")
    (tmp_path / "notes").mkdir()
    cuts = list(load_corpus(tmp_path, "train", exclude=("aside",)))
    assert {cut.id.split("/")[0] for cut in cuts} == {"tones", "train-clean-5"}
    assert len(cuts) == 10 + 4


def test_what_cannot_be_used_is_skipped_and_counted(tmp_path: Path, write_tsv: Write) -> None:
    rows = [("a", "", "train", 0.5, "fine"), ("b", "", "train", 0.5, " "), ("c", "", "train", 0.5, "room 5")]
    folder = write_tsv(
        tmp_path / "rooms", [*rows, ("d", "", "train", 0.5, "gone"), ("a", "", "train", 0.5, "again")]
    )
    (folder / "clips" / "d.wav").unlink()
    cuts, report = read_corpus(folder, "train", unspellable=lambda text: set(text) & set("0123456789"))
    assert texts(cuts) == {"rooms/a": "fine"}
    assert (report.used, report.skipped, report.seconds) == (1, 4, 0.5)
    counts = (report.empty_text, report.unspellable, report.missing_audio, report.duplicate_id)
    assert counts == (1, 1, 1, 1)
    assert report.examples == ("rooms/b", "rooms/c", "rooms/d")
    assert "1 with characters that cannot be spelled (5)" in str(report)


def test_nothing_to_read_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        load_corpus(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"utterances\.tsv.*JSONL.*trans\.txt.*\.txt of the same name"):
        load_corpus(tmp_path)


@pytest.mark.parametrize(
    ("own", "wanted", "inside"),
    [
        ("train", "train", True),
        ("train-clean-5", "train", True),
        ("train-clean-5", "train-clean-5", True),
        ("train", "train-clean-5", False),
        ("trainer", "train", False),
        ("", "train", True),
        ("", "dev", False),
        ("dev", "all", True),
        ("dev", None, True),
    ],
)
def test_splits(own: str, wanted: str | None, inside: bool) -> None:
    assert in_split(own, wanted) is inside


def test_default_folder_is_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEANFORMER_DATA", "/somewhere")
    assert default_data_folder() == Path("/somewhere")
    monkeypatch.delenv("LEANFORMER_DATA")
    assert default_data_folder() == Path("../shared/data")
