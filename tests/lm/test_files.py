"""Text in, a language model's file out; ARPA files; and what is said about wrong ones."""

from __future__ import annotations

import lzma
import math
from pathlib import Path

import numpy as np
import pytest

from leanformer.decoder.language_model import LanguageModel
from leanformer.decoder.language_model_file import Header, read, to_bytes
from leanformer.errors import ConfigError, DataError
from leanformer.lm.arpa import read_arpa
from leanformer.lm.build import build
from leanformer.lm.text import read_text
from leanformer.text.tokenizer import Tokenizer

PIECES = ["<blank>", "\u2581the", "\u2581cat", "s"]
ARPA = """
\\data\\
ngram 1=6
ngram 2=4
ngram 3=1

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.9\t</s>
-0.5\t\u2581the\t-0.3
-0.7\t\u2581cat\t-0.2
-1.2\ts

\\2-grams:
-0.1\t<s> \u2581the
-0.2\t\u2581the \u2581cat\t-0.4
-0.8\t\u2581the s
-0.3\t\u2581cat </s>

\\3-grams:
-0.05\t\u2581the \u2581cat s

\\end\\
"""


def test_text_is_read_as_transcripts_are(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The CAT, sat!\n\nIn 1984 a cat\n")
    (tmp_path / "b.txt.xz").write_bytes(lzma.compress(b"a rat ran\n"))
    text = read_text([tmp_path / "a.txt", tmp_path / "b.txt.xz"], tokenizer)
    assert tokenizer.decode(text.tokens.tolist()) == "the cat sat a rat ran"
    assert (text.words, text.lines_left_out) == (6, 1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no.txt", None, r"no\.txt: cannot be read as text"),
        ("a.txt", b"\xff\xfe\xff", r"a\.txt: cannot be read as text .*; expected UTF-8"),
        ("a.txt.xz", b"plain", "cannot be read as text"),
        ("a.txt.xz", lzma.compress(b"the cat\n" * 999)[:-20], "cannot be read as text"),
        ("a.txt", b"", "no text"),
        ("a.txt", b"1984\n", "no text"),
    ],
)
def test_wrong_text(
    tokenizer: Tokenizer, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text([tmp_path / name], tokenizer)


@pytest.mark.parametrize("max_bytes", [20_000, 30_000, 10_000_000])
def test_the_file_is_no_larger_than_wanted(max_bytes: int, tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).zipf(1.5, 40_000).clip(1, 99).astype(np.uint16)
    ngram, content = build(tokens, 100, 4, max_bytes, Header("x", 0.7, 2.5, "on dev"))
    assert len(content) <= max_bytes
    assert len(content) > min(max_bytes * 0.7, 35_000)  # all that was counted has 37 kB
    (tmp_path / "x.lm").write_bytes(content)
    again, header = read(tmp_path / "x.lm")
    contexts = np.random.default_rng(0).integers(0, 100, (9, 3))
    np.testing.assert_array_equal(again.log_probs(contexts), ngram.log_probs(contexts))
    assert header == Header("x", 0.7, 2.5, "on dev")
    assert to_bytes(again, header) == content


def test_a_file_that_nothing_fits_into() -> None:
    with pytest.raises(ConfigError, match="--max-mb"):
        build(np.ones(100, np.uint16), 100, 3, 100, Header("x"))


def test_a_state_too_long_for_its_integer() -> None:
    ngram, _ = build(np.arange(1, 50, dtype=np.uint16).repeat(40), 1000, 8, 10**6, Header("x"))
    with pytest.raises(ConfigError, match="lower --order"):
        LanguageModel(ngram, 1, 1)


def test_arpa(tmp_path: Path) -> None:
    (tmp_path / "a.arpa").write_text(ARPA)
    ngram = read_arpa(tmp_path / "a.arpa", PIECES)
    model = LanguageModel(ngram, 1.0, 0.0)
    state, found = np.array([model.initial_state()]), []
    for token in (1, 2, 3, 3):
        found.append(float(model.rows(state)[0, token]) / math.log(10))
        state = model.advance(state, np.array([token]))
    # The last has its backoff from neither context: nothing continues "cat s", and "s" has none.
    np.testing.assert_allclose(found, [-0.5, -0.2, -0.05, -1.2], atol=1e-6)
    after_cat = model.rows(np.array([2]))[0, 3] / math.log(10)
    assert after_cat == pytest.approx(-1.2)  # "cat </s>" was left out, so nothing continues "cat"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\u2581the \u2581cat\t", "\u2581the dog\t", r"line 17: 'dog' is none of the model's word-pieces"),
        ("-0.8\t", "many\t", "line 18: .*no entry"),
        ("-0.2\t\u2581the \u2581cat\t-0.4\n", "", "without what stands before"),
        ("\\end\\", "", "ends before"),
        (ARPA, "the cat\n", "no 1-grams"),
    ],
)
def test_wrong_arpa(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "a.arpa").write_text(ARPA.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_arpa(tmp_path / "a.arpa", PIECES)
