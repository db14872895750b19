"""Language models of words, ARPA files and KenLM binaries, through flashlight-text."""

from __future__ import annotations

import builtins
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leanformer.decoder.word_fusion import UNKNOWN
from leanformer.errors import ConfigError, MissingExtraError
from leanformer.runtime import kenlm as room
from leanformer.runtime.kenlm import BONUS, WEIGHT, is_of_words, word_fusion
from leanformer.runtime.language_model import Fusion, language_model
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.searching import make_search, search_kind
from leanformer.text.tokenizer import Tokenizer

DATA = Path(__file__).parents[1] / "data"
ARPA, BINARY, TRIE = DATA / "words.arpa", DATA / "words.kenlm", DATA / "words-trie.kenlm"
needs_kenlm = pytest.mark.skipif(
    find_spec("flashlight") is None, reason="flashlight-text is not installed (extra lm)"
)
LN_10 = float(np.log(10))


def worth(path: Path, tokenizer: Tokenizer, text: str) -> float:
    """The sum of log10 p of a text's words."""
    scorer = word_fusion(path, tokenizer, 1.0, 0.0)
    states, total = np.array([scorer.initial_state()]), 0.0
    for token in tokenizer.encode(text):
        total += float(scorer.rows(states)[0, token])
        states = scorer.advance(states, np.array([token]))
    return (total - float(scorer.unearned(states)[0])) / LN_10


@needs_kenlm
@pytest.mark.parametrize(("path", "digits"), [(ARPA, 5), (BINARY, 5), (TRIE, 1)])  # the last in 8 bits
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cat", -0.5 - 0.2),
        ("the cat sat", -0.5 - 0.2 - 0.05),
        ("cat sat", -0.7 - 0.2 - 1.2),  # by way of the backoff after "cat"
        ("the mat", -0.5 - 0.3 - 1.0 + UNKNOWN / LN_10),
        ("that the cat sat", -1.0 + UNKNOWN / LN_10 - 0.5 - 0.2 - 0.05),
        ("the cat sat the cat", -0.5 - 0.2 - 0.05 - 0.5 - 0.2),
    ],
)
def test_words_are_worth_what_the_file_says(
    tokenizer: Tokenizer, path: Path, digits: int, text: str, expected: float
) -> None:
    assert worth(path, tokenizer, text) == pytest.approx(expected, abs=10**-digits)


@needs_kenlm
def test_it_goes_where_any_language_model_goes(bundle_folder: Path, tokenizer: Tokenizer) -> None:
    scorer = language_model(Fusion(ARPA), tokenizer)
    assert (scorer.weight, scorer.bonus) == (WEIGHT, BONUS)
    given = language_model(Fusion(ARPA, 0.75, 1.5), tokenizer)
    assert (given.weight, given.bonus) == (0.75, 1.5)
    assert search_kind(make_search(tokenizer, 4, ARPA)) == "beam+lm"
    assert Recognizer.load(bundle_folder, lm=ARPA).stream(hotwords=["the hat"])


@needs_kenlm
def test_any_pieces_give_the_same_text(bundle_folder: Path, speech: np.ndarray) -> None:
    recognizer = Recognizer.load(bundle_folder, lm=Fusion(BINARY, 10.0, 5.0))
    stream = recognizer.stream()
    for start in range(0, len(speech), 1_777):
        stream.accept_waveform(speech[start : start + 1_777], 16_000)
    whole = recognizer.transcribe(speech)
    assert stream.finish() == whole
    assert whole.text != Recognizer.load(bundle_folder).transcribe(speech).text


@needs_kenlm
def test_words_in_capitals_are_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "x.arpa"
    path.write_text(ARPA.read_text().replace("cat", "CAT").replace("the", "The"))
    assert worth(path, tokenizer, "the cat sat") == pytest.approx(-0.75, abs=1e-5)


def test_which_files_are_of_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat\n")
    assert [is_of_words(one) for one in (ARPA, BINARY, tmp_path / "a.txt", tmp_path / "none", tmp_path)] == [
        True, True, False, False, False,
    ]  # fmt: skip


@needs_kenlm
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ARPA.read_text().replace("the", "\u2581the"), "of word-pieces; take it in with `leanformer lm "),
        (ARPA.read_text().replace("cat", "k4t").replace("the", "t2e").replace("sat", "s8t"), "write none of its"),
        ("\\data\\\nngram 1=2\n", "has no words in it; is it whole"),
        (ARPA.read_text().replace("-0.7\tcat", "many\tcat"), "KenLM cannot read it"),
        (ARPA.read_text()[:-40], "KenLM cannot read it"),
        (BINARY.read_bytes()[:-30], "KenLM cannot read it|no words in it; build it without"),
        (BINARY.read_bytes().replace(b"version 5", b"version 4"), "KenLM cannot read it"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file(
    tokenizer: Tokenizer, tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = tmp_path / "x.arpa"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=message) as raised:
        word_fusion(path, tokenizer)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("too_new", "kind", "message"),
    [
        ((4,), MissingExtraError, r"flashlight-text is not installed.*leanformer\[lm\]"),
        ((3,), ConfigError, r"words\.arpa: flashlight-text, .*no wheels for Python 3\.13"),
    ],
)
def test_without_the_library(
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    too_new: tuple[int, ...],
    kind: type[Exception],
    message: str,
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("flashlight"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(room, "_TOO_NEW", too_new)
    with pytest.raises(kind, match=message):
        word_fusion(ARPA, tokenizer)
