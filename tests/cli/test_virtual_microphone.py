"""`leanformer mic` on a microphone that the system has: a PulseAudio of our own, into which a recording is played.

docs/microphone.md has the same by hand. It takes real time, some 20 seconds, and what it needs is seldom all there:
PulseAudio, PortAudio, and ALSA's plugin between them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile
from jiwer import wer

import leanformer

SAMPLE = Path(leanformer.__file__).parent / "models" / "sample.opus"
COMMAND = [sys.executable, "-c", "import sys; from leanformer.cli.app import main; sys.exit(main())", "mic"]
LONGEST = 60.0
DAEMON = [
    "pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--log-level=error",
    "-L", "module-native-protocol-unix", "-L", "module-null-sink sink_name=speech rate=16000 channels=1",
]  # fmt: skip


class Sound:
    """A PulseAudio with one microphone, which hears what is played."""

    def __init__(self, environment: dict[str, str], daemon: subprocess.Popen[bytes]) -> None:
        self.environment, self.daemon = environment, daemon

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    @contextmanager
    def listening(self) -> Iterator[subprocess.Popen[str]]:
        """`leanformer mic`, once it hears, and Ctrl-C is its usual end."""
        process = subprocess.Popen(
            [*COMMAND, "--device", "pulse"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "listening to pulse; Ctrl-C ends\n"
            yield process
        finally:
            process.kill()
            process.wait()

    def play(self, path: Path) -> None:
        """Until its end, in real time."""
        assert self.run("paplay", "--device=speech", str(path)).returncode == 0


@pytest.fixture
def sound() -> Iterator[Sound]:
    for tool in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian, Ubuntu: pulseaudio, pulseaudio-utils)")
    # Not pytest's own folder: the way to a socket may have 107 letters only.
    with tempfile.TemporaryDirectory(prefix="lf-") as folder:
        home = {name: folder for name in ("HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "XDG_CONFIG_HOME")}
        environment = os.environ | home | {"PULSE_SERVER": f"unix:{folder}/native"}
        environment |= {"PULSE_SOURCE": "speech.monitor", "OMP_NUM_THREADS": "1"}
        daemon = subprocess.Popen(
            DAEMON, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        made = Sound(environment, daemon)
        try:
            deadline = time.monotonic() + 10
            while made.run("pactl", "info").returncode:
                if daemon.poll() is not None or time.monotonic() > deadline:
                    pytest.skip("PulseAudio does not start here")
                time.sleep(0.1)
            if " pulse " not in (listed := made.run(*COMMAND, "--list-devices")).stdout:
                pytest.skip(
                    f"PortAudio does not see PulseAudio (alsa's pulse plugin?): {listed.stderr.strip()}"
                )
            yield made
        finally:
            daemon.kill()
            daemon.wait()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample that ships, in a form that paplay knows."""
    path = tmp_path_factory.mktemp("recording") / "sample.wav"
    soundfile.write(path, *soundfile.read(SAMPLE, dtype="int16"))
    return path


def test_what_is_played_is_written_down(sound: Sound, recording: Path) -> None:
    said = leanformer.Recognizer.load().transcribe(SAMPLE).text
    with sound.listening() as process:
        sound.play(recording)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, err
    # Resampled twice and begun somewhere: a few words in doubt differ.
    assert wer(said, " ".join(out.split())) < 0.5


def test_a_device_that_goes_in_the_middle_of_a_sentence_leaves_the_text(
    sound: Sound, recording: Path
) -> None:
    with sound.listening() as process:
        with subprocess.Popen(["paplay", "--device=speech", str(recording)], env=sound.environment) as player:
            time.sleep(4.0)
            sound.daemon.kill()
            player.wait(timeout=LONGEST)
        out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 1
    assert len(out.split()) > 3
    assert "microphone 'pulse' stopped after" in err.splitlines()[-1]
    assert "unplugged" in err
