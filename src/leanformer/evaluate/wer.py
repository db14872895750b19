"""Word and character errors, counted by an alignment of least cost (Levenshtein 1966) through jiwer.

    WER = (substitutions + deletions + insertions) / words of the reference

It may exceed 1. Over many utterances it is the ratio of the sums, so that a long utterance weighs more. The
CER is the same over characters, where a space counts as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from leanformer.errors import MissingExtraError
from leanformer.text.normalization import normalize

if TYPE_CHECKING:
    from types import ModuleType


@dataclass(frozen=True, slots=True)
class Errors:
    """Counts over one or more utterances; `words` and `characters` are the reference's."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    words: int = 0
    character_errors: int = 0
    characters: int = 0

    @property
    def word_errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float | None:
        """Word error rate, 1 = as many errors as words; None without words."""
        return self.word_errors / self.words if self.words else None

    @property
    def cer(self) -> float | None:
        """Character error rate; None without characters."""
        return self.character_errors / self.characters if self.characters else None


def total(errors: Iterable[Errors]) -> Errors:
    """The sum of each count."""
    return Errors(*map(sum, zip(*map(astuple, errors), strict=True)))


def count_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[Errors]:
    """Compare each hypothesis with its reference, both normalised as for training.

    Raises:
        MissingExtraError: jiwer is not installed.
        ValueError: not as many hypotheses as references.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references, but {len(hypotheses)} hypotheses")
    jiwer = require_jiwer()
    if not references:
        return []
    said, heard = [normalize(text) for text in references], [normalize(text) for text in hypotheses]
    by_word = _counts(jiwer.process_words(said, heard))
    by_character = _counts(jiwer.process_characters(said, heard))
    return [
        Errors(*words, len(text.split()), sum(characters), len(text))
        for text, words, characters in zip(said, by_word, by_character, strict=True)
    ]


def matching_words(reference: str, hypothesis: str) -> list[tuple[int, int]]:
    """The words recognised right: their places in the reference and in the hypothesis, both normalised texts."""
    aligned = require_jiwer().process_words([reference], [hypothesis])
    return [
        (chunk.ref_start_idx + step, chunk.hyp_start_idx + step)
        for chunk in aligned.alignments[0]
        if chunk.type == "equal"
        for step in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]


def require_jiwer() -> ModuleType:
    """The library that aligns; raises MissingExtraError without it, which is better early than late."""
    try:
        import jiwer
    except ModuleNotFoundError as error:
        raise MissingExtraError("jiwer", "evaluate") from error
    return jiwer


def _counts(aligned: Any) -> list[tuple[int, int, int]]:
    """Substitutions, deletions and insertions of each utterance that jiwer aligned."""
    return [
        (
            sum(one.ref_end_idx - one.ref_start_idx for one in chunks if one.type == "substitute"),
            sum(one.ref_end_idx - one.ref_start_idx for one in chunks if one.type == "delete"),
            sum(one.hyp_end_idx - one.hyp_start_idx for one in chunks if one.type == "insert"),
        )
        for chunks in aligned.alignments
    ]
