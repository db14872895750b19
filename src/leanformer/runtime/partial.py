"""The text of an open stream: what will stay, and what may still change."""

from __future__ import annotations


class Partial(str):
    """`stable` and `tail` with a space between them: nothing of the former is ever taken back."""

    __slots__ = ("stable", "tail")

    stable: str
    tail: str

    def __new__(cls, stable: str, tail: str) -> Partial:
        """Whole words of each, with single spaces; either may be empty."""
        text = super().__new__(cls, f"{stable} {tail}".strip())
        text.stable, text.tail = stable, tail
        return text

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        """For copies and pickles."""
        return self.stable, self.tail


NOTHING = Partial("", "")
"""Before anything was said."""
