"""`scripts/demo`, with an environment of stand-ins instead of an installation."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "src" / "leanformer" / "models" / "sample.opus"


def script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A folder that looks like an environment and notes in `log` what it is asked to do."""
    log = tmp_path / "log"
    for program in ("python", "leanformer"):
        script(tmp_path / "venv" / "bin" / program, f'echo {program} "$@" >> {log}')
    return os.environ | {"LEANFORMER_VENV": str(tmp_path / "venv"), "LOG": str(log)}


def demo(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts" / "demo"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def asked(environment: dict[str, str]) -> list[str]:
    return Path(environment["LOG"]).read_text().splitlines()


def test_it_installs_once_and_then_only_runs(environment: dict[str, str]) -> None:
    assert demo(environment).returncode == 0
    assert demo(environment, "other.wav", "--format", "srt").returncode == 0
    installs = [line for line in asked(environment) if "pip install" in line]
    assert len(installs) == 1
    assert installs[0].endswith(f"--editable {ROOT}")
    runs = [line for line in asked(environment) if line.startswith("leanformer")]
    plain = "leanformer transcribe --live --stats"
    assert runs == [f"{plain} {SAMPLE}", f"{plain} other.wav --format srt"]


def test_an_installation_that_failed_is_tried_again(environment: dict[str, str]) -> None:
    python = Path(environment["LEANFORMER_VENV"]) / "bin" / "python"
    working = python.read_text()
    script(python, 'case "$*" in *install*) exit 1;; esac')
    failed = demo(environment)
    assert failed.returncode == 1
    assert "scripts/demo: error: the installation failed" in failed.stderr
    python.write_text(working)
    assert demo(environment).returncode == 0
    assert any("pip install" in line for line in asked(environment))


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ('if [ "$1" = -V ]; then echo Python 3.9.2; else exit 1; fi', "(python3 is Python 3.9.2)"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "sudo apt install python3-venv"),
    ],
)
def test_what_is_missing_is_named(
    environment: dict[str, str], tmp_path: Path, python: str, message: str
) -> None:
    programs = tmp_path / "programs"
    script(programs / "python3", python)
    for program in ("bash", "dirname", "cksum", "env"):
        found = next(
            Path(folder) / program for folder in os.get_exec_path() if (Path(folder) / program).exists()
        )
        (programs / program).symlink_to(found)
    environment |= {"PATH": str(programs), "LEANFORMER_VENV": str(tmp_path / "none")}
    environment.pop("PYTHON", None)
    failed = demo(environment)
    assert failed.returncode == 1
    assert message in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_the_sample_is_short_speech_with_a_note() -> None:
    assert 7 < soundfile.info(SAMPLE).duration < 13
    note = SAMPLE.with_suffix(".md").read_text()
    assert all(word in note for word in ("CC BY 4.0", "Text:", "utterance"))
