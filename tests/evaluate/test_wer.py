"""Errors against hand-counted ones, and against a plain edit distance."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanformer.errors import MissingExtraError
from leanformer.evaluate.wer import Errors, count_errors, matching_words, total


def test_kinds_of_errors() -> None:
    (errors,) = count_errors(["the cat sat on the mat"], ["the bat sat the mat now"])
    assert (errors.substitutions, errors.deletions, errors.insertions) == (1, 1, 1)
    assert (errors.words, errors.word_errors, errors.wer) == (6, 3, 0.5)


def test_characters_count_spaces() -> None:
    (errors,) = count_errors(["ab cd"], ["abcd"])
    assert (errors.character_errors, errors.characters, errors.cer) == (1, 5, 0.2)


def test_typography_is_no_error() -> None:
    (errors,) = count_errors(["It\u2019s a well-known  FACT."], ["it's a well known fact"])
    assert (errors.words, errors.word_errors, errors.character_errors) == (5, 0, 0)


def test_more_errors_than_words() -> None:
    assert count_errors(["one"], ["one two three"])[0].wer == 2.0


@pytest.mark.parametrize(
    ("reference", "hypothesis", "deletions", "insertions"),
    [("a b", "", 2, 0), ("", "a b", 0, 2), ("", "", 0, 0)],
)
def test_empty_texts(reference: str, hypothesis: str, deletions: int, insertions: int) -> None:
    (errors,) = count_errors([reference], [hypothesis])
    assert (errors.substitutions, errors.deletions, errors.insertions) == (0, deletions, insertions)
    assert (errors.wer is None) == (reference == "")


def test_a_total_is_a_ratio_of_sums() -> None:
    errors = count_errors(["a", "a b c"], ["b", "a b c"])
    assert [one.wer for one in errors] == [1.0, 0.0]
    assert total(errors).wer == 0.25
    assert total([]) == Errors()


def test_matching_words() -> None:
    assert matching_words("the cat sat on the mat", "a the bat sat the mat") == [
        (0, 1),
        (2, 3),
        (4, 4),
        (5, 5),
    ]
    assert matching_words("a", "") == []


def test_no_utterances() -> None:
    assert count_errors([], []) == []


def test_as_many_hypotheses_as_references() -> None:
    with pytest.raises(ValueError, match="1 references, but 0 hypotheses"):
        count_errors(["a"], [])


def test_without_jiwer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(MissingExtraError, match=r"jiwer is not installed.*leanformer\[evaluate\]"):
        count_errors(["a"], ["a"])


texts = st.lists(st.sampled_from(["a", "b", "cc"]), max_size=6).map(" ".join)


@settings(max_examples=40)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_errors_are_the_edit_distance(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [one for one, _ in pairs], [other for _, other in pairs]
    for reference, hypothesis, errors in zip(
        references, hypotheses, count_errors(references, hypotheses), strict=True
    ):
        assert errors.word_errors == edit_distance(reference.split(), hypothesis.split())
        assert errors.character_errors == edit_distance(list(reference), list(hypothesis))
        assert errors.insertions - errors.deletions == len(hypothesis.split()) - len(reference.split())


def edit_distance(one: list[str], other: list[str]) -> int:
    row = list(range(len(other) + 1))
    for place, left in enumerate(one, start=1):
        diagonal, row[0] = row[0], place
        for column, right in enumerate(other, start=1):
            best = min(diagonal + (left != right), row[column] + 1, row[column - 1] + 1)
            diagonal, row[column] = row[column], best
    return row[-1]
