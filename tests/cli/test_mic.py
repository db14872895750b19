"""`leanformer mic` from the outside, with pipes for microphones."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from leanformer import AudioError, Recognizer
from leanformer.audio.microphone import Device
from leanformer.audio.source import Source
from leanformer.cli import mic as verb
from leanformer.cli.app import main
from leanformer.cli.captions import Lines
from leanformer.cli.mic import listen
from leanformer.runtime.recognizer import DEFAULT_ENDPOINT

RATE = 16_000
COMMAND = [sys.executable, "-c", "import sys; from leanformer.cli.app import main; sys.exit(main())", "mic"]
Noise = Callable[[float], np.ndarray]


def raw(samples: np.ndarray) -> bytes:
    return (samples * 32_768).round().clip(-32_768, 32_767).astype("<i2").tobytes()


def stored(samples: np.ndarray) -> np.ndarray:
    return np.frombuffer(raw(samples), "<i2")


@pytest.fixture(scope="module")
def recognizer(bundle_folder: Path) -> Recognizer:
    return Recognizer.load(bundle_folder)


@pytest.fixture
def lines(recognizer: Recognizer, speech: np.ndarray) -> list[str]:
    """What the two sentences come out as."""
    transcript = recognizer.transcribe(stored(speech), endpoint=DEFAULT_ENDPOINT)
    return [segment.text for segment in transcript.segments]


def in_blocks(samples: np.ndarray) -> Iterator[np.ndarray]:
    yield from (samples[start : start + 1_600] for start in range(0, len(samples), 1_600))


def test_a_pipe_becomes_a_line_for_each_sentence(
    bundle_folder: Path, speech: np.ndarray, lines: list[str], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [*COMMAND, "--device", str(pipe), "--model", str(bundle_folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pipe.write_bytes(raw(speech))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.decode().splitlines()) == (0, lines)
    assert len(lines) == 2
    assert err.decode() == f"listening to {pipe}; Ctrl-C ends\n"


def test_standard_input_may_be_the_microphone(
    bundle_folder: Path,
    speech: np.ndarray,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(raw(speech)), isatty=lambda: False))
    assert main(["mic", "--device", "-", "--model", str(bundle_folder)]) == 0
    assert capsys.readouterr().out.splitlines() == lines
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert main(["mic", "--device", "-"]) == 1
    assert "standard input is a terminal" in capsys.readouterr().err


class Screen:
    """A terminal that a command writes to."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self._ours, self.theirs = pty.openpty()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def wait_for(self, piece: bytes) -> None:
        deadline = time.monotonic() + 60
        while piece not in self.seen:
            assert time.monotonic() < deadline, f"{piece!r} is not in {bytes(self.seen)!r}"
            time.sleep(0.02)

    def close(self) -> None:
        self._watcher.join()
        os.close(self._ours)

    def _watch(self) -> None:
        try:
            while piece := os.read(self._ours, 1_000):
                self.seen.extend(piece)
        except OSError:  # the terminal is closed
            return


def test_on_a_terminal_words_are_redrawn_and_ctrl_c_keeps_the_last(
    bundle_folder: Path, recognizer: Recognizer, noise: Noise
) -> None:
    spoken = noise(1.7)
    expected = recognizer.transcribe(stored(spoken), endpoint=DEFAULT_ENDPOINT).text
    early = recognizer.stream(endpoint=DEFAULT_ENDPOINT)
    early.accept_waveform(stored(spoken), RATE)
    assert 0 < len(early.partial) < len(expected)  # so the last words are not there before Ctrl-C
    screen = Screen()
    command = [*COMMAND, "--device", "-", "--model", str(bundle_folder)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LANG": "C.UTF-8"}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=screen.theirs, stderr=subprocess.PIPE, env=environment
    )
    os.close(screen.theirs)
    assert process.stdin is not None
    process.stdin.write(raw(spoken))
    process.stdin.flush()
    try:
        screen.wait_for(early.partial.stable.encode())
    except AssertionError:
        process.kill()
        raise
    assert expected.encode() not in screen.seen
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    # The pipe stays open: it is Ctrl-C that ends the wait for sound.
    code = process.wait(timeout=60)
    screen.close()
    assert code == 0
    assert b" dB" in screen.seen
    assert b"\x1b[2K" in screen.seen  # lines were wiped to be drawn anew
    assert f"{expected}\r\n".encode() in screen.seen
    assert process.stderr is not None
    assert process.stderr.read().decode().count("\n") == 1


def test_ctrl_c_without_a_terminal_keeps_the_last_words(
    bundle_folder: Path, recognizer: Recognizer, noise: Noise
) -> None:
    spoken = noise(1.7)
    process = subprocess.Popen(
        [*COMMAND, "--device", "-", "--model", str(bundle_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(raw(spoken))
    process.stdin.flush()
    assert b"listening" in process.stderr.readline()
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    expected = recognizer.transcribe(stored(spoken), endpoint=DEFAULT_ENDPOINT).text
    assert (process.returncode, out.decode(), err) == (0, f"{expected}\n", b"")


def test_ctrl_c_in_a_step_of_the_model_waits_for_its_end(
    recognizer: Recognizer, speech: np.ndarray, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    class Pressed(Lines):
        """Ctrl-C comes while a block is being worked on."""

        def show(self, *given: object) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            super().show(*given)  # type: ignore[arg-type]

    blocks = iter([stored(speech), stored(speech)])
    assert listen(recognizer, Source("it", RATE, blocks), Pressed()) is None
    assert capsys.readouterr().out.splitlines() == lines
    assert len(next(blocks)) == len(speech)  # the second was not asked for
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("patient", [True, False])
def test_ctrl_c_hears_what_a_slow_machine_has_not_come_to(
    recognizer: Recognizer, speech: np.ndarray, patient: bool
) -> None:
    waiting = list(in_blocks(stored(speech)))
    heard = []

    class Pressed(Lines):
        """Ctrl-C comes with the first block, and again with the third by somebody in a hurry."""

        def show(self, *given: object) -> None:
            heard.append(given)
            if len(heard) == 1 or (len(heard) == 3 and not patient):
                os.kill(os.getpid(), signal.SIGINT)
            super().show(*given)  # type: ignore[arg-type]

    source = SimpleNamespace(name="it", rate=RATE, blocks=iter(waiting[:1]), rest=lambda: iter(waiting[1:]))
    assert listen(recognizer, source, Pressed()) is None  # type: ignore[arg-type]
    assert len(heard) == (len(waiting) + 1 if patient else 4)  # with the end


@pytest.mark.parametrize("error", [AudioError("microphone 'it' stopped"), OSError(5, "Input/output error")])
def test_an_unplugged_microphone_leaves_the_text(
    bundle_folder: Path,
    recognizer: Recognizer,
    noise: Noise,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoken = stored(noise(1.7))

    def until_unplugged() -> Iterator[np.ndarray]:
        yield from in_blocks(spoken)
        raise error

    @contextmanager
    def opened(device: str | None, raw_rate: int) -> Iterator[Source]:
        yield Source("it", RATE, until_unplugged())

    monkeypatch.setattr(verb, "opened", opened)
    assert main(["mic", "--model", str(bundle_folder)]) == 1
    out, err = capsys.readouterr()
    assert out == f"{recognizer.transcribe(spoken, endpoint=DEFAULT_ENDPOINT).text}\n"
    told = err.splitlines()
    assert len(told) == 2
    assert told[1].startswith("leanformer: error: ")
    assert "it" in told[1]
    assert str(error.args[-1]) in told[1]


def test_a_rate_that_changes_leaves_the_text(
    recognizer: Recognizer, noise: Noise, capsys: pytest.CaptureFixture[str]
) -> None:
    spoken = stored(noise(1.7))

    class Changing:
        name, rate = "it", RATE

        @property
        def blocks(self) -> Iterator[np.ndarray]:
            yield spoken
            self.rate = 8_000
            yield spoken

    error = listen(recognizer, Changing(), Lines())  # type: ignore[arg-type]
    assert isinstance(error, AudioError)
    assert "from 16000 to 8000 Hz" in str(error)
    expected = recognizer.transcribe(spoken, endpoint=DEFAULT_ENDPOINT).text
    assert capsys.readouterr().out == f"{expected}\n"


def test_dropped_sound_is_told(
    recognizer: Recognizer, noise: Noise, capsys: pytest.CaptureFixture[str]
) -> None:
    class Busy(SimpleNamespace):
        def take_losses(self) -> str | None:
            return "0.4 s of sound were dropped"

    listen(recognizer, Busy(name="it", rate=RATE, blocks=in_blocks(noise(2.0))), Lines())  # type: ignore[arg-type]
    # Not with every block.
    assert capsys.readouterr().err.splitlines() == [
        "leanformer: warning: 0.4 s of sound were dropped: this machine is too slow for the model, or busy"
    ]


def test_microphones_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = [Device(2, "headset", 1, 48_000, True)]
    monkeypatch.setattr("leanformer.audio.microphone.list_devices", lambda: found)
    assert main(["mic", "--list-devices"]) == 0
    assert capsys.readouterr() == ("*   2  headset  (1 channels, 48000 Hz)\n", "")
    found.clear()
    assert main(["mic", "--list-devices"]) == 1
    assert "no microphone found; plug one in, or pipe sound in" in capsys.readouterr().err


def test_a_sound_file_that_is_no_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.wav").write_text("text")
    assert main(["mic", "--device", str(tmp_path / "notes.wav")]) == 1
    assert "notes.wav" in capsys.readouterr().err
