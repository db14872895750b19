"""Times and confidence of words from the outside: `tune --words`, and what `evaluate` and `transcribe` do with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from leanformer import Recognizer
from leanformer.cli.app import main
from leanformer.runtime.bundle import Bundle

RATE = 16_000
LATE_MS = 70
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def own_bundle(build_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """A bundle to write into."""
    return build_bundle(tmp_path / "bundle")


@pytest.fixture(scope="module")
def corpus(
    tmp_path_factory: pytest.TempPathFactory, noise: Callable[[float], np.ndarray], bundle_folder: Path
) -> Path:
    """data/ by two speakers of what the bundle hears, every third word wrong; words.jsonl, where all are later."""
    folder = tmp_path_factory.mktemp("corpus")
    clips = folder / "data" / "one" / "clips"
    clips.mkdir(parents=True)
    rows, records = [], []
    for speaker in ("ann", "bob"):
        pieces = [
            np.concatenate([noise(0.31 + 0.17 * (n % 7)), np.zeros(RATE // 5, np.float32)])
            for n in range(110)
        ]
        soundfile.write(clips / f"{speaker}.wav", np.concatenate(pieces), RATE)
        heard = Recognizer.load(bundle_folder).transcribe(clips / f"{speaker}.wav").words
        said = [word.word if n % 3 else "q" for n, word in enumerate(heard)]
        rows.append(f"{speaker}\t{speaker}\tdev\tclips/{speaker}.wav\t9\t{' '.join(said)}\n")
        words = [
            [text, round(100 * word.start) + LATE_MS // 10, round(100 * (word.end - word.start))]
            for text, word in zip(said, heard, strict=True)
        ]
        records.append(json.dumps({"id": f"one/{speaker}", "words": words}) + "\n")
    columns = "id\tspeaker\tsplit\tpath\tseconds\ttext\n"
    (folder / "data" / "one" / "utterances.tsv").write_text(columns + "".join(rows))
    (folder / "words.jsonl").write_text("".join(records))
    return folder


@pytest.fixture
def folder(tmp_path: Path, corpus: Path, own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: the bundle, the corpus, and what a test writes."""
    for part in corpus.iterdir():
        (tmp_path / part.name).symlink_to(part)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process; gives the exit code and what it wrote."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def test_what_is_fitted_on_one_half_helps_on_the_other(folder: Path, run: Run, own_bundle: Path) -> None:
    measure = (
        "evaluate",
        own_bundle,
        "--data",
        "data",
        "--confidence",
        "--speakers",
        "odd",
        "--json",
        "r.json",
    )
    times = ("--times", "--alignments", "words.jsonl")
    code, out, err = run(*measure, *times)
    assert code == 0
    assert "not calibrated" in err
    before = json.loads(Path("r.json").read_text())
    assert (before["speakers"], before["total"]["utterances"]) == ("odd", 1)
    assert before["total"]["times"]["start_ms"]["median"] == pytest.approx(-LATE_MS, abs=6)
    assert before["total"]["times"]["skipped"] == 0
    assert f"{before['total']['confidence']['ece']:.3f}" in out
    assert "ms off an alignment" in out

    code, out, err = run("tune", own_bundle, "--words", "--data", "data", "--alignments", "words.jsonl")
    assert code == 0, err
    assert "beam+lm: left as it is" in err  # the default one is for other word-pieces
    found = Bundle.open(own_bundle).manifest.words
    assert set(found.confidence) == {"greedy", "beam"}
    assert found.fitted.startswith("even speakers, 1 clips of split dev, times on ")
    assert found.fitted in out

    for search in ((), ("--beam", 4)):
        code, _, err = run(*measure, *times, *search)
        assert (code, err) == (0, "")
        after = json.loads(Path("r.json").read_text())
        assert after["total"]["confidence"]["ece"] < before["total"]["confidence"]["ece"] / 2
        assert after["total"]["confidence"]["words"] > 100
    assert after["total"]["times"]["end_ms"]["p50"] < before["total"]["times"]["end_ms"]["p50"]


def test_times_stay_without_an_alignment(folder: Path, run: Run, own_bundle: Path) -> None:
    code, _, err = run("tune", own_bundle, "--words", "--data", "data", "--alignments", "words.jsonl")
    assert code == 0, err
    times = Bundle.open(own_bundle).manifest.words.times
    assert times.lag_ms > 0
    code, _, err = run("tune", own_bundle, "--words", "--data", "data", "--speakers", "all")
    assert code == 0
    assert "times: left as they are" in err
    assert Bundle.open(own_bundle).manifest.words.times == times


def test_a_picture(folder: Path, run: Run, own_bundle: Path) -> None:
    pytest.importorskip("matplotlib")
    options = ("--data", "data", "--confidence", "--plot", "x.svg")
    assert run("evaluate", own_bundle, *options)[0] == 0
    assert "<svg" in Path("x.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("tune", "bundle", "--alignments", "words.jsonl"), 2, "--alignments is used by --words only"),
        (("tune", "bundle", "--words", "--data", "data", "--limit", "0"), 2, "--limit"),
        (
            ("tune", "bundle", "--words", "--data", "data", "--alignments", "no.jsonl"),
            1,
            "no.jsonl: cannot read",
        ),
        (("tune", "bundle", "--words", "--data", "short", "--speakers", "all"), 1, "too few to fit on"),
        (("evaluate", "bundle", "--plot", "x.svg"), 2, "--plot draws what --confidence measures"),
        (("evaluate", "bundle", "--alignments", "words.jsonl"), 2, "used by --latency and --times only"),
        (
            ("transcribe", "x.wav", "--doubtful", "0.5"),
            2,
            "--doubtful marks words in srt and vtt, not in text",
        ),
        (("transcribe", "x.wav", "-f", "vtt", "--doubtful", "2"), 2, "--doubtful"),
    ],
)
def test_wrong_options(
    folder: Path, run: Run, speech: np.ndarray, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (folder / "short").mkdir()
    soundfile.write(folder / "short" / "a.wav", speech, RATE)
    (folder / "short" / "a.txt").write_text("the cat")
    split = ("--split", "all") if "short" in arguments else ()
    found, out, err = run(*arguments, *split)
    assert (found, out) == (code, "")
    assert message in err


def test_times_without_pocketsphinx(
    folder: Path, run: Run, own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    code, out, err = run("evaluate", own_bundle, "--data", "data", "--times")
    assert (code, out) == (1, "")
    assert "pocketsphinx is not installed" in err


def test_doubtful_words_are_marked(folder: Path, run: Run, own_bundle: Path) -> None:
    audio = "data/one/clips/ann.wav"
    words = Recognizer.load(own_bundle).transcribe(audio).words
    middle = sorted(word.confidence for word in words)[len(words) // 2]
    doubtful = sum(word.confidence < middle for word in words)
    assert 0 < doubtful < len(words)
    command = "transcribe", audio, "--model", own_bundle, "--no-endpoint"
    for kind, mark in (("srt", "<i>"), ("vtt", "<c.doubtful>")):
        code, out, _ = run(*command, "-f", kind, "--doubtful", middle)
        assert (code, out.count(mark)) == (0, doubtful)
        assert mark not in run(*command, "-f", kind)[1]
    code, out, _ = run(*command, "-f", "json")
    assert [word["confidence"] for word in json.loads(out)["words"]] == [word.confidence for word in words]
