"""Names for outputs, and outputs that are complete or not there."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from leanformer.cli.display import fitted
from leanformer.cli.outputs import Growing, output_names, replacing
from leanformer.cli.sources import Source
from leanformer.runtime.partial import Partial


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


def test_growing_text_is_what_will_stay() -> None:
    out = io.StringIO()
    growing = Growing(out)
    for partial in (
        Partial("", "th"),
        Partial("the", "cap"),
        Partial("the", "ca"),
        Partial("the cat", "sat"),
    ):
        growing.heard(lambda partial=partial: partial)
        assert out.getvalue() == partial.stable
    growing.write("the cat sat\n")
    growing.heard(lambda: Partial("on a", ""))
    growing.write("on a\n")
    assert out.getvalue() == "the cat sat\non a\n"


def test_what_may_change_is_dim_and_the_end_of_a_long_line_is_seen() -> None:
    text = Partial("the cat", "sat on")
    assert fitted(text, 80) == "the cat \x1b[2msat on\x1b[22m"
    assert fitted(text, 9) == "at \x1b[2msat on\x1b[22m"
    assert fitted(text, 4) == "\x1b[2mt on\x1b[22m"
    assert fitted(Partial("the cat", ""), 5) == "e cat"
    assert fitted(Partial("", ""), 5) == ""
