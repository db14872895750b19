"""A part of some recordings: in an order that mixes speakers and corpora, the first that last so long.

The order follows from ids and a seed alone. So the same recordings are chosen whatever else lies in the folders, on any
machine, and what is chosen for one hour is part of what is chosen for two.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence

from lhotse import CutSet, MonoCut

from leanformer.errors import DataError


def shuffled(cuts: Iterable[MonoCut], seed: int) -> list[MonoCut]:
    """Cuts in an order that follows from their ids and the seed alone, so that other folders do not disturb it."""
    return sorted(cuts, key=lambda cut: (zlib.crc32(f"{seed} {cut.id}".encode()), cut.id))


def until(cuts: Sequence[MonoCut], enough: float, amount: Callable[[MonoCut], float]) -> list[MonoCut]:
    """The first cuts, up to the one with which their amounts come to enough."""
    chosen: list[MonoCut] = []
    total = 0.0
    for cut in cuts:
        if total >= enough:
            break
        chosen.append(cut)
        total += amount(cut)
    return chosen


def until_seconds(cuts: Sequence[MonoCut], seconds: float) -> list[MonoCut]:
    """The first cuts, up to the one with which they last so long."""
    return until(cuts, seconds, lambda cut: float(cut.duration))


def only_hours(cuts: CutSet, hours: float, seed: int) -> CutSet:
    """Recordings that last `hours` together, or up to one recording more: a random draw of all that there are.

    Raises:
        DataError: there is less than that, so that a run would claim more speech than it has heard.
    """
    found = list(cuts)
    there = sum(cut.duration for cut in found) / 3600
    if there < hours:
        raise DataError(
            f"{hours:g} h of speech are asked for, but there are {there:.2f} h; lower corpora.train_hours, leave it "
            "out for all of them, or give more data"
        )
    return CutSet.from_cuts(until_seconds(shuffled(found, seed), 3600 * hours))
