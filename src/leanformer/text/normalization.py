"""Transcripts made uniform: lower case a-z, apostrophe and single spaces.

One rule for training and for scoring, so that a word error is never a matter of typography.
Digits are kept: how a number was spoken cannot be known from its figures, so the tokenizer reports them as
unspellable and the data room skips the utterance instead of guessing.
"""

import re
import unicodedata

_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u02b9\u0060\u00b4\u2032"), "'")
_DASHES = dict.fromkeys(map(ord, "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212/_"), " ")
ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz' ")
_LONE_APOSTROPHE = re.compile(r"(?<!\S)'+(?!\S)|'{2,}")


def normalize(text: str) -> str:
    """Return `text` as training and scoring want it.

    Unicode is folded (NFKC, accents dropped), curly quotes become ', dashes and slashes become a space, other
    punctuation and symbols go. Letters of other scripts and digits stay, so that they are noticed.
    """
    # The quotes first: NFKC turns an acute accent that stands alone into a space and a mark.
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).translate(_APOSTROPHES)
    text = unicodedata.normalize("NFD", text.translate(_DASHES).casefold())
    kept = (c if c == "'" or c.isspace() or unicodedata.category(c)[0] in "LN" else "" for c in text)
    return " ".join(_LONE_APOSTROPHE.sub(" ", "".join(kept)).split())


def outside_alphabet(text: str) -> set[str]:
    """Return the characters of a normalised text that are neither a-z, apostrophe nor space."""
    return set(text) - ALPHABET
