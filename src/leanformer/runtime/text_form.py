"""Text as it is to be read: capitals, punctuation, digits, by a function of the user's.

A model writes what it was trained on: lower case, without punctuation, numbers in words. A `TextForm` takes the words
of a segment, with single spaces between them, and returns them in another form:

    Recognizer.load(text_form=str.capitalize)

It forms the text of segments, and what is shown of the open one. Words stay as they were spoken, with their times.
"""

from __future__ import annotations

from collections.abc import Callable

from leanformer.errors import ConfigError

TextForm = Callable[[str], str]
"""Text to text. It is asked anew whenever the open segment grows, with whatever is there: it should be quick, and take
the beginning of a sentence, too. It may be called from all threads that use the recogniser."""


def formed(form: TextForm | None, text: str) -> str:
    """The text in another form, on one line and with single spaces; as it is if it is empty or there is no `form`.

    Raises:
        ConfigError: the function failed, or returned something else than a str.
    """
    if form is None or not text:
        return text
    name = getattr(form, "__qualname__", repr(form))
    try:
        found = form(text)
    except Exception as error:
        raise ConfigError(
            f"text form {name} failed on {text!r} ({type(error).__name__}: {error}); it must take any text"
        ) from error
    if not isinstance(found, str):
        raise ConfigError(f"text form {name} returned {found!r} for {text!r}; it must return a str")
    return " ".join(found.split())
