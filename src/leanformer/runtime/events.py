"""What happens in a stream, in the order in which it happens."""

from __future__ import annotations

from dataclasses import dataclass

from leanformer.runtime.partial import Partial
from leanformer.runtime.transcript import Segment


@dataclass(frozen=True, slots=True)
class PartialText:
    """The text of the open segment has changed (a `Final` empties it); `time` is what was heard so far, in seconds."""

    text: Partial
    time: float


@dataclass(frozen=True, slots=True)
class Final:
    """A segment that is complete and stays as it is."""

    segment: Segment

    @property
    def text(self) -> str:
        """The segment's text."""
        return self.segment.text


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The speaker has finished. Comes after the `Final` of what was said, if anything was.

    Attributes:
        time: when it was decided, in seconds since the stream's beginning.
        speech_end: when something was last heard; the utterance's beginning, if nothing was.
        rule: the name of the rule that held.
    """

    time: float
    speech_end: float
    rule: str


Event = PartialText | Final | Endpoint
