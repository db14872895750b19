"""Names for outputs, and outputs that are complete or not there."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from leanformer.cli.outputs import Growing, output_names, replacing
from leanformer.cli.sources import Source


def names(*paths: tuple[str, str]) -> list[str]:
    return [str(name) for name in output_names([Source(path, Path(root)) for path, root in paths], ".txt")]


def test_names_get_longer_only_as_far_as_they_must() -> None:
    assert names(("x/a.wav", "x"), ("y/b.c.wav", "y"), ("-", ".")) == ["a.txt", "b.c.txt", "stdin.txt"]
    assert names(("x/s/a.wav", "x"), ("x/a.wav", "x")) == ["s/a.txt", "a.txt"]
    assert names(("a.wav", "."), ("a.flac", ".")) == ["a.wav.txt", "a.flac.txt"]
    assert names(("a.wav", "."), ("A.wave", ".")) == ["a.wav.txt", "A.wave.txt"]
    assert names(("x/a.wav", "x"), ("y/a.wav", "y")) == ["x/a.wav.txt", "y/a.wav.txt"]
    assert names(("x/../../p/a.wav", "x/../../p"), ("../q/a.wav", "../q")) == ["p/a.wav.txt", "q/a.wav.txt"]


def test_names_that_differ_in_capitals_only_are_numbered() -> None:
    assert names(("a.wav", "."), ("A.wav", ".")) == ["a.wav.1.txt", "A.wav.2.txt"]


def test_replacing_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as file:
        file.write("first")
        assert not path.exists()
    with pytest.raises(OSError, match="full"), replacing(path) as file:  # noqa: PT012
        file.write("second")
        raise OSError("full")
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_growing_text_is_appended_to() -> None:
    out = io.StringIO()
    growing = Growing(out)
    for partial, written in (("th", ""), ("the ca", "the "), ("the cat sat", "the cat ")):
        growing.heard(partial.__str__)
        assert out.getvalue() == written
    growing.write("the cat sat\n")
    growing.heard(lambda: "on a")
    growing.write("on a mat\n")
    assert out.getvalue() == "the cat sat\non a mat\n"


def test_growing_text_may_be_taken_back() -> None:
    out = io.StringIO()
    growing = Growing(out)
    growing.heard(lambda: "the cat sat")
    growing.heard(lambda: "a cat sat on")
    growing.write("a cat sat on it\n")
    assert out.getvalue() == "the cat \na cat sat on it\n"
