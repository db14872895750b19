"""`leanformer transcribe` from the outside: what is written where, and how it ends."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from leanformer import Recognizer
from leanformer.cli.app import main
from leanformer.runtime.recognizer import DEFAULT_ENDPOINT

RATE = 16_000
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a few recordings and things that are none."""
    folder = tmp_path / "audio"
    (folder / "sub").mkdir(parents=True)
    soundfile.write(folder / "a.wav", speech, RATE)
    soundfile.write(folder / "b.flac", speech[: len(speech) // 2], RATE)
    soundfile.write(folder / "sub" / "c.wav", speech, RATE)
    (folder / "notes.txt").write_text("not audio")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(bundle_folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process; gives the exit code and what it wrote."""
    return partial(command, bundle_folder, capsys)


@pytest.fixture
def run_two_passes(cascade_folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The same with a model of two passes."""
    return partial(command, cascade_folder, capsys)


def command(bundle: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["transcribe", "--model", str(bundle), *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def text(bundle_folder: Path, speech: np.ndarray) -> str:
    """What the two sentences come out as, a line each."""
    stored = (speech * 32_768).round().clip(-32_768, 32_767).astype(np.int16)
    transcript = Recognizer.load(bundle_folder).transcribe(stored, endpoint=DEFAULT_ENDPOINT)
    return "".join(f"{segment.text}\n" for segment in transcript.segments)


def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes, terminal: bool = False) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: terminal)
    monkeypatch.setattr(sys, "stdin", stdin)


def raw(samples: np.ndarray) -> bytes:
    return (samples * 32_768).round().clip(-32_768, 32_767).astype("<i2").tobytes()


def test_a_file(folder: Path, run: Run, text: str) -> None:
    assert run("a.wav") == (0, text, "")
    assert text.count("\n") == 2


def test_without_endpoints_a_recording_is_one_utterance(
    folder: Path, run: Run, text: str, bundle_folder: Path
) -> None:
    code, out, err = run("a.wav", "--no-endpoint")
    assert (code, err) == (0, "")
    assert out.replace("\n", " ").strip() == Recognizer.load(bundle_folder).transcribe("a.wav").text
    assert out != text


def test_several_files_say_whose_lines_they_are(folder: Path, run: Run, text: str) -> None:
    code, out, err = run("a.wav", "sub/c.wav", "a.wav", "./a.wav")
    lines = text.splitlines()
    assert (code, err) == (0, "")
    assert out == "".join(f"{name}\t{line}\n" for name in ("a.wav", "sub/c.wav") for line in lines)


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_failing_file_does_not_keep_the_others_from_finishing(
    folder: Path, run: Run, text: str, jobs: str
) -> None:
    (folder / "broken.wav").write_text("text named .wav")
    code, out, err = run("missing.wav", "a.wav", "broken.wav", "x*.wav", "sub/c.wav", "--jobs", jobs)
    assert code == 1
    assert out.count("\t") == 2 * text.count("\n")
    assert [line.split(":")[0] for line in err.splitlines()] == ["leanformer"] * 3
    assert all(name in err for name in ("missing.wav", "broken.wav", "x*.wav"))


@pytest.mark.parametrize(
    "bad", ["missing.wav", "empty.wav", "text.wav", "cut.flac", "nan.wav", "none.wav", "sub2"]
)
def test_bad_input_gives_one_line_with_its_name(folder: Path, run: Run, speech: np.ndarray, bad: str) -> None:
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is text")
    (folder / "cut.flac").write_bytes((folder / "b.flac").read_bytes()[:20_000])
    soundfile.write(folder / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    soundfile.write(folder / "none.wav", speech[:0], RATE)
    (folder / "sub2").mkdir()
    code, _, err = run(bad)
    assert code == 1
    assert err.startswith("leanformer: error: ")
    assert err.count("\n") == 1
    assert bad in err


def test_silence_is_no_error(folder: Path, run: Run) -> None:
    soundfile.write("silence.wav", np.zeros(2 * RATE), RATE)
    assert run("silence.wav") == (0, "", "")
    assert json.loads(run("silence.wav", "--format", "json")[1])["text"] == ""


def test_folders_and_patterns(folder: Path, run: Run) -> None:
    names = [line.split("\t")[0] for line in run(".")[1].splitlines()]
    assert list(dict.fromkeys(names)) == ["a.wav", "b.flac", "sub/c.wav"]
    names = [line.split("\t")[0] for line in run("**/*.wav")[1].splitlines()]
    assert list(dict.fromkeys(names)) == ["a.wav", "sub/c.wav"]


def test_a_name_with_a_patterns_characters_is_a_name(folder: Path, run: Run, text: str) -> None:
    (folder / "a.wav").rename("a[1].wav")
    assert run("a[1].wav") == (0, text, "")


def test_json(folder: Path, run: Run, text: str, bundle_folder: Path) -> None:
    code, out, _ = run("a.wav", "b.flac", "--format", "json")
    first, second = (json.loads(line) for line in out.splitlines())
    assert code == 0
    assert (first["file"], second["file"]) == ("a.wav", "b.flac")
    expected = Recognizer.load(bundle_folder).transcribe("a.wav", endpoint=DEFAULT_ENDPOINT).to_dict()
    del first["file"]
    assert first == json.loads(json.dumps(expected))


def test_subtitles_of_several_files_need_a_folder(folder: Path, run: Run) -> None:
    code, out, err = run("a.wav", "b.flac", "--format", "srt")
    assert (code, out) == (2, "")
    assert "add -o FOLDER" in err
    assert run("a.wav", "--format", "vtt")[1].startswith("WEBVTT\n")


def test_output_folder(folder: Path, run: Run, text: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(".", "-o", str(out)) == (0, "", "")
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {"a.txt", "b.txt", "sub/c.txt"}
    assert (out / "a.txt").read_text() == text


@pytest.mark.parametrize("other", ["a.flac", "A.flac", "sub/a.wav"])
def test_outputs_never_overwrite_one_another(folder: Path, run: Run, tmp_path: Path, other: str) -> None:
    soundfile.write(other, np.zeros(RATE), RATE)
    out = tmp_path / "out"
    assert run("a.wav", other, "-o", str(out))[0] == 0
    files = [path for path in out.rglob("*") if path.is_file()]
    assert sorted(len(path.read_text()) > 0 for path in files) == [False, True]


def test_a_failed_file_leaves_the_old_output_alone(
    folder: Path, run: Run, tmp_path: Path, noise: Callable[[float], np.ndarray]
) -> None:
    soundfile.write("cut.flac", noise(4.0), RATE)
    (folder / "cut.flac").write_bytes((folder / "cut.flac").read_bytes()[:60_000])
    out = tmp_path / "out"
    out.mkdir()
    (out / "cut.txt").write_text("what was there")
    code, _, err = run("cut.flac", "-o", str(out))
    assert (code, "cut.flac" in err) == (1, True)
    assert [path.name for path in out.iterdir()] == ["cut.txt"]
    assert (out / "cut.txt").read_text() == "what was there"


def test_standard_input(
    run: Run, text: str, speech: np.ndarray, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard_input(monkeypatch, raw(speech))
    assert run("-") == (0, text, "")
    standard_input(monkeypatch, (folder / "a.wav").read_bytes())
    assert run("-") == (0, text, "")
    standard_input(monkeypatch, raw(speech[::2]))
    words = json.loads(run("-", "--raw-rate", "8000", "--format", "json")[1])["words"]
    assert words[-1]["end"] > 6
    standard_input(monkeypatch, b"")
    assert "standard input" in run("-")[2]
    standard_input(monkeypatch, b"", terminal=True)
    assert "standard input is a terminal" in run("-")[2]


def test_words_are_written_while_they_are_spoken(bundle_folder: Path, speech: np.ndarray, text: str) -> None:
    command = [sys.executable, "-c", "import sys; from leanformer.cli.app import main; sys.exit(main())"]
    command += ["transcribe", "-", "--model", str(bundle_folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(raw(speech[: int(1.6 * RATE)]))
    process.stdin.flush()
    # Within the first sentence: no pause has ended it, and the input is still open.
    ready, _, _ = select.select([process.stdout], [], [], 60)
    assert ready, "no word within 60 s"
    early = os.read(process.stdout.fileno(), 1_000).decode()
    assert text.startswith(early)
    process.stdin.write(raw(speech[int(1.6 * RATE) :]))
    process.stdin.close()
    assert early + process.stdout.read().decode() == text
    assert process.wait() == 0


def test_interrupting_live_speech_keeps_its_last_words(
    bundle_folder: Path, noise: Callable[[float], np.ndarray]
) -> None:
    command = [sys.executable, "-c", "import sys; from leanformer.cli.app import main; sys.exit(main())"]
    command += ["transcribe", "-", "--model", str(bundle_folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(raw(noise(1.7)))
    process.stdin.flush()
    ready, _, _ = select.select([process.stdout], [], [], 60)
    assert ready, "no word within 60 s"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"")
    assert out.endswith(b"\n")
    assert len(out.split()) > 2


def test_live_shows_partial_results(folder: Path, run: Run, text: str) -> None:
    code, out, err = run("a.wav", "--live")
    assert (code, out) == (0, text)
    partials = [line.removeprefix("... ") for line in err.splitlines()]
    assert len(partials) > 5
    assert all(any(line.startswith(partial) for line in text.splitlines()) for partial in partials)


def test_the_first_pass_alone(folder: Path, run: Run, run_two_passes: Run, text: str) -> None:
    assert run("a.wav", "--first-pass") == run_two_passes("a.wav", "--first-pass") == (0, text, "")
    code, final, err = run_two_passes("a.wav")
    assert (code, err) == (0, "")
    assert final not in (text, "")


def test_of_two_passes_only_what_stays_is_written(
    run_two_passes: Run, folder: Path, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard_input(monkeypatch, raw(speech))
    assert run_two_passes("-")[1] == run_two_passes("a.wav")[1]


def test_stats(folder: Path, run: Run) -> None:
    _, _, err = run("a.wav", "--stats")
    assert err.startswith("model counter int8 | audio 6.32 s | processing 0.")
    assert "real-time factor 0." in err
    _, _, err = run("missing.wav", "--stats")
    assert "real-time factor -" in err


def test_real_time_takes_as_long_as_the_speech(folder: Path, run: Run) -> None:
    soundfile.write("short.wav", np.zeros(RATE // 2), RATE)
    start = time.monotonic()
    run("short.wav", "--real-time", "--stats")
    assert time.monotonic() - start >= 0.5


def test_wrong_values(folder: Path, run: Run) -> None:
    assert "multiples of 40 ms" in run("a.wav", "--chunk-ms", "50")[2]
    assert "no 'fp32' graph" in run("a.wav", "--precision", "fp32")[2]
    assert main(["transcribe", "a.wav", "--model", "nowhere"]) == 1


def test_a_terminal_shows_a_bar_and_the_same_text(folder: Path, bundle_folder: Path, text: str) -> None:
    command = [sys.executable, "-c", "import sys; from leanformer.cli.app import main; sys.exit(main())"]
    command += ["transcribe", "a.wav", "--model", str(bundle_folder)]
    ours, theirs = pty.openpty()
    seen = bytearray()

    def watch() -> None:
        try:
            while piece := os.read(ours, 1_000):
                seen.extend(piece)
        except OSError:  # the terminal is closed
            return

    watcher = threading.Thread(target=watch)
    watcher.start()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=environment, check=True)
    os.close(theirs)
    watcher.join()
    os.close(ours)
    assert done.stdout.decode() == text
    assert b"transcribing" in seen
