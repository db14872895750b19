"""Half of the speakers to fit on, the other half to report on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from leanformer.errors import DataError
from leanformer.evaluate.corpus import Clip

Speakers = Literal["all", "odd", "even"]


def of_speakers(clips: Sequence[Clip], which: Speakers) -> tuple[Clip, ...]:
    """The clips of every second speaker of each corpus, in the order of their names, counted from 1.

    A clip of an unknown speaker counts as a speaker of its own. Raises DataError if no clip is left.
    """
    if which == "all":
        return tuple(clips)
    names: dict[str, set[str]] = {}
    for clip in clips:
        names.setdefault(clip.corpus, set()).add(_speaker(clip))
    first = 0 if which == "odd" else 1
    wanted = {(corpus, name) for corpus, found in names.items() for name in sorted(found)[first::2]}
    chosen = tuple(clip for clip in clips if (clip.corpus, _speaker(clip)) in wanted)
    if not chosen:
        raise DataError(
            f"no clip by {which} speakers: each corpus has one speaker only; choose --speakers all"
        )
    return chosen


def _speaker(clip: Clip) -> str:
    return clip.utterance.speaker or f"\0{clip.utterance.id}"
