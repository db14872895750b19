import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanformer.errors import TokenizerError
from leanformer.text.tokenizer import Tokenizer, TokenizerKind, train_tokenizer

TEXTS = [
    "the cat sat on the mat and didn't move",
    "a quick brown fox jumps over the lazy dog",
    "pack my box with five dozen liquor jugs",
    "sphinx of black quartz judge my vow",
]
KINDS: tuple[TokenizerKind, ...] = ("unigram", "bpe", "char")


@pytest.fixture(scope="module", params=KINDS)
def pieces(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(TEXTS, 40, request.param)


WORDS = st.lists(st.text("abcdefghijklmnopqrstuvwxyz'", min_size=1, max_size=12), max_size=8)


@given(words=WORDS)
def test_any_text_of_its_alphabet_comes_back(pieces: Tokenizer, words: list[str]) -> None:
    text = " ".join(words)
    ids = pieces.encode(text)
    assert pieces.decode(ids) == text
    assert pieces.blank_id not in ids


def test_blanks_say_nothing(pieces: Tokenizer) -> None:
    ids = pieces.encode("the lazy cat")
    spread = [0, *(token for one in ids for token in (one, 0))]
    assert pieces.decode(spread) == "the lazy cat"


def test_as_many_words_as_word_starts(pieces: Tokenizer) -> None:
    ids = pieces.encode("the lazy brown cat")
    assert sum(map(pieces.starts_word, ids)) == 4
    assert pieces.starts_word(ids[0])
    assert "".join(map(pieces.piece, ids)) == "\u2581the\u2581lazy\u2581brown\u2581cat"


@pytest.mark.parametrize("text", ["room 5", "café", "\u2581", "Upper"])
def test_what_cannot_be_spelled_is_refused_by_name(pieces: Tokenizer, text: str) -> None:
    strange = pieces.unspellable(text)
    assert len(strange) == 1
    with pytest.raises(TokenizerError, match=f"{strange.pop()!r}.*normalise"):
        pieces.encode(text)


def test_same_texts_give_the_same_bytes() -> None:
    for kind in KINDS:
        first, second = (train_tokenizer(iter(TEXTS), 40, kind) for _ in range(2))
        assert first.to_bytes() == second.to_bytes()


def test_size_counts_the_blank() -> None:
    assert len(train_tokenizer(TEXTS, 40, "unigram")) == 40
    assert len(train_tokenizer(TEXTS, 40, "bpe")) == 40
    # 26 letters, the apostrophe, the word start and the blank
    assert len(train_tokenizer(TEXTS, 40, "char")) == 29


def test_survives_bytes_files_and_pickles(pieces: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(pieces.to_bytes())
    for copy in (
        Tokenizer.load(path),
        Tokenizer.from_bytes(pieces.to_bytes()),
        pickle.loads(pickle.dumps(pieces)),
    ):
        assert copy.encode(TEXTS[0]) == pieces.encode(TEXTS[0])


def test_bad_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"missing\.model.*leanformer tokenizer"):
        Tokenizer.load(tmp_path / "missing.model")
    whole = train_tokenizer(TEXTS, 40).to_bytes()
    for content in (b"", b"not a model", *(whole[:size] for size in range(0, len(whole) - 50, 7))):
        (tmp_path / "bad.model").write_bytes(content)
        with pytest.raises(TokenizerError, match=r"bad\.model"):
            Tokenizer.load(tmp_path / "bad.model")


def test_a_model_without_our_blank_is_refused(tmp_path: Path) -> None:
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=40, minloglevel=2
    )
    with pytest.raises(TokenizerError, match="id 0 is '<unk>'"):
        Tokenizer.from_bytes(model.getvalue())


@pytest.mark.parametrize("token", [-1, 40, 1000])
def test_ids_of_another_model_are_refused(pieces: Tokenizer, token: int) -> None:
    with pytest.raises(TokenizerError, match=str(token)):
        pieces.decode([1, token])
    with pytest.raises(TokenizerError, match=str(token)):
        pieces.piece(token)


@pytest.mark.parametrize(
    ("texts", "size", "kind"),
    [
        ([], 40, "unigram"),
        (["  ", ""], 40, "bpe"),
        (TEXTS, 5, "unigram"),
        (["ab"], 900, "bpe"),
        (TEXTS, 40, "word"),
    ],
)
def test_what_cannot_be_trained_is_refused(texts: list[str], size: int, kind: TokenizerKind) -> None:
    with pytest.raises(TokenizerError):
        train_tokenizer(texts, size, kind)
