import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanformer.text.normalization import normalize, outside_alphabet


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("MISTER QUILTER", "mister quilter"),
        ("  two\tspaces \n here ", "two spaces here"),
        ("It\u2019s \u201cquoted\u201d, he said.", "it's quoted he said"),
        ("don`t won\u00b4t", "don't won't"),
        ("well-known \u2013 and \u2014 dashes/slashes", "well known and dashes slashes"),
        ("Café naïve ﬁne", "cafe naive fine"),
        ("the boys' ' toys", "the boys' toys"),
        ("", ""),
        ("?!…", ""),
    ],
)
def test_typography_goes_and_words_stay(raw: str, expected: str) -> None:
    assert normalize(raw) == expected


@pytest.mark.parametrize(("raw", "strange"), [("room 101", {"1", "0"}), ("Привет you", set("привет"))])
def test_digits_and_other_scripts_stay_to_be_noticed(raw: str, strange: set[str]) -> None:
    assert outside_alphabet(normalize(raw)) == strange


@given(st.text())
def test_normalising_twice_changes_nothing(raw: str) -> None:
    once = normalize(raw)
    assert normalize(once) == once
    assert once == " ".join(once.split())
