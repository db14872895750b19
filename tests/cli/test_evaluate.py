"""`leanformer evaluate` from the outside, with a recogniser that hears what it is told."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from leanformer.cli.app import main
from leanformer.errors import AudioError
from leanformer.runtime.recognizer import Recognizer

Run = Callable[..., tuple[int, str, str]]
TEXTS = {"a": "the cat sat", "b": "on a mat", "c": "all day"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of two corpora with a dev split."""
    for name, ids in (("one", "ab"), ("two", "c")):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        rows = [f"{i}\t{i}\tdev\tclips/{i}.wav\t2.0\t{TEXTS[i]}\n" for i in ids]
        (folder / "utterances.tsv").write_text("".join(["id\tspeaker\tsplit\tpath\tseconds\ttext\n", *rows]))
    return tmp_path / "data"


@pytest.fixture
def threads() -> set[str]:
    """The names of the threads that the fake recogniser worked in."""
    return set()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], threads: set[str]) -> Run:
    """Runs the command; gives the exit code and what it wrote. `heard` replaces what the recogniser hears."""

    def command(*arguments: object, heard: dict[str, str] | None = None) -> tuple[int, str, str]:
        texts = TEXTS if heard is None else heard

        def transcribe(audio: Path, sample_rate: int | None = None) -> SimpleNamespace:
            threads.add(threading.current_thread().name)
            if audio.stem not in texts:
                raise AudioError(f"{audio} does not exist; check the name")
            return SimpleNamespace(text=texts[audio.stem], duration=2.0)

        def load(model: str, **options: Any) -> SimpleNamespace:
            how = {"precision", "threads", "chunk_ms", "first_pass_only", "depth"}
            assert set(options) == how | {"decoder", "beam", "lm", "hotwords"}
            name = f"{model} {options['precision'] or 'int8'}"
            return SimpleNamespace(name=name, chunk_ms=options["chunk_ms"] or 640, transcribe=transcribe)

        monkeypatch.setattr(Recognizer, "load", load)
        code = main(["evaluate", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def test_table(run: Run, data: Path) -> None:
    code, out, err = run("lean", "--data", data, heard=TEXTS | {"b": "on the mat"})
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert rows["lean"][:1] == ["int8,"]
    assert rows["one"][:3] == ["2", "6", "16.7"]
    assert rows["two"][:4] == ["1", "2", "0.0", "-"]
    assert rows["total"][:3] == ["3", "8", "12.5"]
    assert "on the mat" in out
    assert "the cat sat" not in out


def test_json(run: Run, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "sub" / "report.json"
    options = ["--precision", "fp32", "--chunk-ms", "320", "--threads", "2", "--jobs", "3"]
    assert run("lean", "--data", data / "one", data / "two", "--json", path, *options)[0] == 0
    values = json.loads(path.read_text())
    setup = {"bundle": "lean", "precision": "fp32", "chunk_ms": 320, "threads": 2, "jobs": 3, "split": "dev"}
    assert setup.items() <= values.items()
    assert list(values["corpora"]) == ["one", "two"]
    assert (values["total"]["utterances"], values["total"]["audio_seconds"]) == (3, 6.0)
    assert [one.name for one in path.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize(("jobs", "in_main"), [("1", True), ("2", False)])
def test_jobs(run: Run, data: Path, threads: set[str], jobs: str, in_main: bool) -> None:
    assert run("lean", "--data", data, "--jobs", jobs)[0] == 0
    assert (threading.main_thread().name in threads) == in_main


def test_a_clip_that_fails(run: Run, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    code, out, err = run("lean", "--data", data, "--json", path, heard={"a": TEXTS["a"], "c": TEXTS["c"]})
    assert code == 1
    assert err.startswith("leanformer: error: ")
    assert err.endswith("b.wav does not exist; check the name\n")
    assert err.count("\n") == 1
    assert "total" in out
    values = json.loads(path.read_text())
    assert (values["total"]["utterances"], values["total"]["failed"]) == (2, 1)
    assert list(values["failures"]) == ["one/b"]


def test_many_failures_are_not_all_printed(run: Run, tmp_path: Path) -> None:
    rows = "".join(f"{number}\t{number}.wav\tx\n" for number in range(30))
    (tmp_path / "utterances.tsv").write_text(f"id\tpath\ttext\n{rows}")
    code, _, err = run("lean", "--data", tmp_path, "--split", "train", heard={"0": "x"})
    assert (code, err.count("\n")) == (1, 6)
    assert "29 clips failed in all" in err


def test_every_clip_failed(run: Run, data: Path) -> None:
    code, out, err = run("lean", "--data", data, heard={})
    assert (code, out) == (1, "")
    assert "none of 3 clips could be transcribed: " in err
    assert err.count("\n") == 1


def test_what_is_evaluated(run: Run, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    run("lean", "--data", data, "--exclude", "two", "--limit", "1", "--json", path)
    values = json.loads(path.read_text())
    assert list(values["corpora"]) == ["one"]
    assert values["total"]["utterances"] == 1
    code, _, err = run("lean", "--data", data, "--split", "test")
    assert code == 1
    assert "nothing to evaluate in split 'test' (splits found: dev)" in err


def test_skipped_utterances_are_told(run: Run, data: Path) -> None:
    with (data / "two" / "utterances.tsv").open("a") as table:
        table.write("d\td\tdev\tclips/d.wav\t2.0\tin 1984\n")
    assert "skipped 1 with digits or letters beyond a-z" in run("lean", "--data", data)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "bundle"),
        (["lean", "--data", "x", "--limit", "0"], "--limit"),
        (["lean", "--data", "x", "--precision", "int4"], "int4"),
        (["lean", "--data", "x", "--json", "."], "--json .: this is a folder"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_report_that_cannot_be_written(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "report.json"
    code, out, err = run("lean", "--data", data, "--json", path)
    assert (code, "total" in out) == (1, True)  # the table is not lost with it
    assert err.startswith(f"leanformer: error: --json {path}: cannot be written (")


def test_a_pipe_is_written_to_and_not_replaced(run: Run, data: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert run("lean", "--data", data, "--json", pipe)[0] == 0
        assert pipe.is_fifo()
        assert json.loads(os.read(reading, 1 << 16))["bundle"] == "lean"
    finally:
        os.close(reading)


def test_without_jiwer(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    code, _, err = run("lean", "--data", data)
    assert (code, err) == (
        1,
        "leanformer: error: jiwer is not installed: this command needs `pip install 'leanformer[evaluate]'`\n",
    )


def test_a_real_recogniser(
    bundle_folder: Path, speech: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", speech, 16_000)
    transcript = Recognizer.load(bundle_folder).transcribe(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text(transcript.text)
    report = tmp_path / "report.json"
    assert (
        main(
            ["evaluate", str(bundle_folder), "--data", str(tmp_path), "--split", "all", "--json", str(report)]
        )
        == 0
    )
    total = json.loads(report.read_text())["total"]
    assert (total["wer"], total["words"]) == (0.0, len(transcript.words))
    assert total["audio_seconds"] == pytest.approx(len(speech) / 16_000, abs=0.001)
    assert 0 < total["rtf"] < 5
    assert "counter int8, chunks of 320 ms" in capsys.readouterr().out
