"""When words come out of a stream, counted from the moment each was fully spoken.

A stream is watched: a `Snapshot` holds what it offered at one moment, and the last one holds its final text. A
word of the final text

    came       at the first moment from which on every text shown has it, at its place, to the end;
    was final  at the same, with the part of the text that the stream says it will not change.

So a word that flickered counts from its last return, and a guess that was taken back counts for nothing. Which
word of an earlier text stands at which place of the final text is found by `places`.

The delay of a word is such a moment less the end of the word in the audio, known from elsewhere (a forced
alignment); it is negative for a word that was guessed before its end. Compare "emission latency" in J. Yu et al.,
"FastEmit", ICASSP 2021, which speaks of tokens and does not know of texts that change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Words = Sequence[str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a stream offered at one moment, from the beginning of the recording.

    Attributes:
        fed: seconds of audio given to the stream so far.
        done: seconds from the beginning until the stream had worked through them, audio coming as it is spoken.
        shown: the words of the text.
        final: those of them that will not change any more.
    """

    fed: float
    done: float
    shown: tuple[str, ...]
    final: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delay:
    """Milliseconds from a word's end in the audio until it came, and until it was final.

    `first` and `final` count audio alone, as if computing took no time; the other two have it in them.
    """

    first: float
    final: float
    first_done: float
    final_done: float


def delays(snapshots: Sequence[Snapshot], ends: Mapping[int, float]) -> list[Delay]:
    """The delays of some words of the last snapshot, all of whose words are final.

    Args:
        snapshots: in the order of time, at least one.
        ends: place of a word in the last text -> seconds at which it ends in the audio.
    """
    came = stays_from([one.shown for one in snapshots])
    settled = stays_from([one.final for one in snapshots])
    found = []
    for place, end in ends.items():
        first, final = snapshots[came[place]], snapshots[settled[place]]
        moments = (first.fed, final.fed, first.done, final.done)
        found.append(Delay(*(1000 * (moment - end) for moment in moments)))
    return found


def stays_from(texts: Sequence[Words]) -> list[int]:
    """For each word of the last text, the number of the first text from which on all have it at its place."""
    whole = texts[-1]
    since: list[int | None] = [None] * len(whole)
    for number, text in enumerate(texts):
        present = places(text, whole)
        since = [(number if old is None else old) if i in present else None for i, old in enumerate(since)]
    return [number for number in since if number is not None]


def places(text: Words, whole: Words) -> set[int]:
    """The places in `whole` of those words that `text`, an earlier version of its beginning, has already.

    The two are aligned with the least number of edits that make `text` a beginning of `whole`; of several
    beginnings that are equally near, the shortest counts, so that in doubt a word is not yet there.
    """
    same = next(
        (i for i, (one, other) in enumerate(zip(text, whole, strict=False)) if one != other),
        min(len(text), len(whole)),
    )
    rest = text[same:]
    # No longer beginning can be nearer than one as long as the text.
    target = whole[same : same + 2 * len(rest)]
    return {*range(same), *(same + place for place in _matches(rest, target))}


def _matches(text: Words, target: Words) -> list[int]:
    """The places of equal words in the alignment of `text` with its nearest beginning of `target`."""
    costs = [list(range(len(target) + 1))]
    for row, word in enumerate(text, start=1):
        costs.append([row])
        for column, other in enumerate(target, start=1):
            replaced = costs[row - 1][column - 1] + (word != other)
            costs[row].append(min(replaced, costs[row - 1][column] + 1, costs[row][column - 1] + 1))
    row, column = len(text), min(range(len(target) + 1), key=costs[-1].__getitem__)
    found = []
    while row and column:
        equal = text[row - 1] == target[column - 1]
        if costs[row][column] == costs[row - 1][column - 1] + (not equal):
            row, column = row - 1, column - 1
            if equal:
                found.append(column)
        elif costs[row][column] == costs[row - 1][column] + 1:
            row -= 1
        else:
            column -= 1
    return found
