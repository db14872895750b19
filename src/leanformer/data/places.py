"""Where the files lie that a recipe names: a recipe moves between machines, so it names no machine's folders."""

import glob
from collections.abc import Sequence
from pathlib import Path

from leanformer.errors import DataError


def locate(patterns: Sequence[str], folders: Sequence[Path], what: str) -> list[Path]:
    """Return the files of some patterns, each looked for as it stands and then in the data folders, first hit wins.

    Args:
        patterns: paths or glob patterns.
        folders: data folders.
        what: what the files are, for the message.

    Raises:
        DataError: naming a pattern that matches nothing.
    """
    found: list[Path] = []
    for pattern in patterns:
        places = [pattern, *(str(folder / pattern) for folder in folders)]
        hits = next((sorted(matched) for place in places if (matched := glob.glob(place))), None)  # noqa: PTH207
        if hits is None:
            looked = ", ".join(["the current folder", *map(str, folders)])
            raise DataError(
                f"{pattern}: no such file ({what}); looked in {looked}. Make it, or change the recipe"
            )
        found.extend(map(Path, hits))
    return found
