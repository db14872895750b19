"""The verbs of this room: `leanformer tokenizer` and `leanformer align`."""

from pathlib import Path

import pytest

from leanformer.cli.align import align
from leanformer.cli.tokenizer import tokenizer as tokenizer_verb
from leanformer.errors import DataError, TokenizerError
from leanformer.text.tokenizer import Tokenizer


def test_tokenizer_of_a_corpus(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "pieces.model"
    tokenizer_verb(output, data=(small_corpus,), size=12, kind="char")
    assert Tokenizer.load(output).decode(Tokenizer.load(output).encode("the cat sat")) == "the cat sat"
    told = capsys.readouterr()
    assert "10 transcripts" in told.out
    assert "10 utterances" in told.err


def test_tokenizer_says_what_is_wrong(small_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="9000 pieces"):
        tokenizer_verb(tmp_path / "a.model", data=(small_corpus,), size=9000)
    with pytest.raises(DataError, match="nothing to use in split 'test'"):
        tokenizer_verb(tmp_path / "a.model", data=(small_corpus,), split="test")
    with pytest.raises(TokenizerError, match="cannot write"):
        tokenizer_verb(tmp_path, data=(small_corpus,), size=12, kind="char")


def test_align_goes_on_with_its_file(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = (f'{{"id": "tones/u{i}", "phones": [["K", 0, 9]]}}\n' for i in (10, 11))
    (tmp_path / "phones.jsonl").write_text("".join(done))
    align(tmp_path / "phones.jsonl", data=(small_corpus,), split="dev")
    assert "2 utterances aligned" in capsys.readouterr().out
