"""Word-pieces through SentencePiece, with id 0 set aside for the CTC blank.

SentencePiece wants an unknown piece; Leanformer refuses unknown characters, so that slot (id 0) is free and
serves as the blank. There are no begin, end or padding pieces. A piece that starts a word begins with U+2581.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import sentencepiece

from leanformer.errors import TokenizerError

BLANK_PIECE = "<blank>"
WORD_START = "\u2581"
TokenizerKind = Literal["unigram", "bpe", "char"]


class Tokenizer:
    """Text to ids and back; immutable once made.

    Raises:
        TokenizerError: the model is not SentencePiece's, or its id 0 is not the blank.
    """

    blank_id = 0

    def __init__(self, model: bytes, name: str = "tokenizer") -> None:
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            if model.count(BLANK_PIECE.encode()) == 1:
                # The settings behind the pieces name it again. SentencePiece itself loads half a file.
                raise RuntimeError("truncated")
            if not model:
                raise RuntimeError("empty")
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise TokenizerError(
                f"{name}: no whole SentencePiece model; expected the file that `leanformer tokenizer` writes"
            ) from error
        pieces = [self._processor.id_to_piece(i) for i in range(self._processor.get_piece_size())]
        if not pieces or pieces[0] != BLANK_PIECE:
            raise TokenizerError(
                f"{name}: id 0 is {pieces[0] if pieces else 'missing'!r}, expected {BLANK_PIECE!r}; "
                "train it with `leanformer tokenizer`"
            )
        self._pieces = tuple(pieces)
        self._alphabet = frozenset(p for p in pieces[1:] if len(p) == 1 and p != WORD_START)

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a model file; raises TokenizerError if it is missing or is not one."""
        try:
            model = Path(path).read_bytes()
        except OSError as error:
            raise TokenizerError(
                f"{path}: cannot read the tokenizer ({error.strerror}); make one with `leanformer tokenizer`"
            ) from error
        return cls(model, str(path))

    @classmethod
    def from_bytes(cls, model: bytes) -> "Tokenizer":
        """Rebuild a tokenizer from what `to_bytes` gave."""
        return cls(model)

    def to_bytes(self) -> bytes:
        """Return the SentencePiece model, as the file `load` reads holds it."""
        return self._model

    def __len__(self) -> int:
        return len(self._pieces)

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[bytes]]:
        return Tokenizer, (self._model,)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, never the blank; raises TokenizerError naming what it cannot spell."""
        missing = self.unspellable(text)
        if missing:
            shown = " ".join(sorted(repr(c) for c in missing))
            raise TokenizerError(
                f"cannot spell {shown} in {text[:60]!r}; normalise the text, "
                "or train the tokenizer on transcripts that have these characters"
            )
        ids: list[int] = self._processor.encode(text)
        return ids

    def unspellable(self, text: str) -> set[str]:
        """Return the characters of `text` (other than white space) that no piece can spell."""
        return {c for c in text if c not in self._alphabet and not c.isspace()}

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; blanks are left out. Raises TokenizerError for an id outside 0..len-1."""
        wrong = next((i for i in ids if not 0 <= i < len(self)), None)
        if wrong is not None:
            raise TokenizerError(
                f"id {wrong} is outside this tokenizer's 0..{len(self) - 1}; is it another model's?"
            )
        pieces = "".join(self._pieces[i] for i in ids if i != self.blank_id)
        return pieces.replace(WORD_START, " ").strip(" ")

    def piece(self, token: int) -> str:
        """Return the piece of one id, with U+2581 for a word start."""
        if not 0 <= token < len(self):
            raise TokenizerError(f"id {token} is outside this tokenizer's 0..{len(self) - 1}")
        return self._pieces[token]

    def starts_word(self, token: int) -> bool:
        """Tell whether this id begins a new word."""
        return self.piece(token).startswith(WORD_START)


def train_tokenizer(texts: Iterable[str], vocab_size: int, kind: TokenizerKind = "unigram") -> Tokenizer:
    """Train a tokenizer on `texts`; the same texts in the same order give the same bytes.

    `vocab_size` counts the blank. For kind "char" it is an upper bound: the size is one blank, one word
    start and one piece a character. Raises TokenizerError without text, for an unknown kind or a size that
    cannot be met.
    """
    if kind not in ("unigram", "bpe", "char"):
        raise TokenizerError(f"tokenizer kind {kind!r}: expected unigram, bpe or char")
    lines = [line for text in texts if (line := text.strip())]
    if not lines:
        raise TokenizerError("no text to train a tokenizer on: every transcript is empty")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=kind,
            vocab_size=vocab_size,
            hard_vocab_limit=kind != "char",
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=1 << 20,
            unk_id=0,
            unk_piece=BLANK_PIECE,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,  # with more, the order of float sums, and so the model, would vary
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise TokenizerError(f"cannot train a {kind} tokenizer of {vocab_size} pieces: {reason}") from error
    return Tokenizer(model.getvalue())
