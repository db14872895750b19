"""Which clips are evaluated, under which names, and which are skipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from leanformer.errors import DataError, MissingExtraError
from leanformer.evaluate.corpus import NO_TEXT, REPEATED, UNCERTAIN, read_clips


def names(folders: list[Path], *arguments: str, **keywords: object) -> list[str]:
    return [clip.name for clip in read_clips(folders, *arguments, **keywords).clips]  # type: ignore[arg-type]


def test_splits(corpus: Callable[..., Path]) -> None:
    folder = corpus("c", ("a", "", "dev", "x"), ("b", "", "train", "x"), ("c", "", "dev-clean", "x"))
    assert names([folder]) == ["c/a", "c/c"]
    assert names([folder], "train") == ["c/b"]
    assert names([folder], "all") == ["c/a", "c/b", "c/c"]


def test_texts_are_normalised_and_the_unusable_counted(corpus: Callable[..., Path]) -> None:
    rows = [("a", "", "dev", "It\u2019s ME."), ("b", "", "dev", "in 1984"), ("c", "", "dev", "?!")]
    found = read_clips([corpus("c", *rows, ("a", "", "dev", "again"))])
    assert [(clip.name, clip.utterance.text) for clip in found.clips] == [("c/a", "it's me")]
    assert found.skipped == {UNCERTAIN: 1, NO_TEXT: 1, REPEATED: 1}


def test_a_folder_of_corpora(corpus: Callable[..., Path], tmp_path: Path) -> None:
    corpus("one", ("a", "", "dev", "x"))
    corpus("two", ("a", "", "dev", "x"))
    corpus("three", ("a", "", "dev", "x"))
    assert names([tmp_path], exclude=["three"]) == ["one/a", "two/a"]


def test_corpora_of_one_name_stay_apart_and_none_counts_twice(
    corpus: Callable[..., Path], tmp_path: Path
) -> None:
    first, second = corpus("x/dev", ("a", "", "dev", "x")), corpus("y/dev", ("a", "", "dev", "x"))
    assert names([first, second, tmp_path / "x" / "dev", tmp_path / "x"]) == ["x/dev/a", "y/dev/a"]
    assert names([first, first]) == ["dev/a"]


def test_a_limit_spreads_over_each_corpus(corpus: Callable[..., Path]) -> None:
    rows = [(f"{number:02}", "", "dev", "x") for number in range(10)]
    folder = corpus("c", *rows)
    assert names([folder], limit=3) == ["c/00", "c/03", "c/06"]
    assert len(names([folder], limit=10)) == len(names([folder], limit=99)) == 10
    assert names([folder, corpus("d", *rows)], limit=1) == ["c/00", "d/00"]


def test_nothing_to_evaluate(corpus: Callable[..., Path]) -> None:
    folder = corpus("c", ("a", "", "train", "x"), ("b", "", "dev", "42"))
    with pytest.raises(DataError, match=r"split 'test' \(splits found: dev, train\)"):
        read_clips([folder], "test")
    with pytest.raises(DataError, match="skipped 1 with digits"):
        read_clips([folder], "dev")
    with pytest.raises(DataError, match="no such file or folder"):
        read_clips([folder / "nowhere"])


def test_a_layout_whose_library_is_missing(
    corpus: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(path: Path) -> None:
        raise ModuleNotFoundError("No module named 'lhotse'", name="lhotse.cut")

    monkeypatch.setattr("leanformer.data.layouts.find.Corpus.read", missing)
    with pytest.raises(MissingExtraError, match=r"^lhotse is not installed.*leanformer\[train\]"):
        read_clips([corpus("c", ("a", "", "dev", "x"))])
