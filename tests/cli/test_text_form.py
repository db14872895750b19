"""`leanformer transcribe --text-form`: a function found by name, and clear words when it is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from leanformer.cli.app import main

MODULE = """
def shout(text):
    return text.upper()

volume = 11
"""


@pytest.fixture
def recording(tmp_path: Path, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> str:
    """In the current folder, beside a module of the user's and one that is broken."""
    (tmp_path / "my_forms.py").write_text(MODULE)
    (tmp_path / "my_broken_forms.py").write_text("import nothing_of_this_name")
    soundfile.write(tmp_path / "a.wav", speech, 16_000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # the verb adds to it
    return "a.wav"


def run(bundle: Path, *arguments: str) -> int:
    return main(["transcribe", "--model", str(bundle), *arguments])


def test_text_has_the_form_and_words_do_not(
    bundle_folder: Path, recording: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bundle_folder, recording, "-f", "json", "--text-form", "my_forms:shout") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["text"].isupper()
    assert all(word["word"].islower() for word in found["words"])
    assert found["text"].split() == [word["word"].upper() for word in found["words"]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shout", "expected MODULE:FUNCTION, such as my_text:capitals"),
        ("my_forms:", "expected MODULE:FUNCTION"),
        ("my_forms:whisper", "module 'my_forms' has no function 'whisper'"),
        ("my_forms:volume", "module 'my_forms' has no function 'volume'"),
        ("no_such_forms:shout", "cannot be imported (ModuleNotFoundError"),
        ("my_broken_forms:shout", "cannot be imported (ModuleNotFoundError: No module named 'nothing_of_"),
    ],
)
def test_a_name_that_is_no_function(
    bundle_folder: Path, recording: str, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert run(bundle_folder, recording, "--text-form", name) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"leanformer: error: --text-form {name}: ")
    assert message in said
    assert said.count("\n") == 1


def test_subtitles_have_no_place_for_it(
    bundle_folder: Path, recording: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bundle_folder, recording, "-f", "srt", "--text-form", "my_forms:shout") == 2
    assert "srt shows single words; take -f text or json" in capsys.readouterr().err
