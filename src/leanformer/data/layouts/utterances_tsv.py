"""The `utterances.tsv` layout: a table beside its clips, tab-separated, without quoting.

Header: `id speaker split path seconds text`; `path` is relative to the table. Other columns are ignored, and
`speaker`, `split` and `seconds` may be absent.
"""

from collections.abc import Iterator
from pathlib import Path

from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import DataError

TABLE = "utterances.tsv"


def detects(folder: Path) -> bool:
    """Tell whether `folder` has this layout."""
    return (folder / TABLE).is_file()


def read(folder: Path) -> Iterator[Utterance]:
    """Yield the rows of the table; raises DataError naming the line that is not as the header says."""
    table = folder / TABLE
    with table.open(encoding="utf-8", newline="") as lines:
        columns = next(lines, "").rstrip("\r\n").split("\t")
        missing = {"id", "path", "text"} - set(columns)
        if missing:
            raise DataError(
                f"{table}: no column {', '.join(sorted(missing))}; expected the header "
                "id, speaker, split, path, seconds, text with tabs between"
            )
        for number, line in enumerate(lines, start=2):
            cells = line.rstrip("\r\n").split("\t")
            if cells == [""]:
                continue
            if len(cells) != len(columns):
                raise DataError(
                    f"{table}:{number}: {len(cells)} cells, expected {len(columns)} as in the header; "
                    "a tab inside a text must become a space"
                )
            yield _utterance(dict(zip(columns, cells, strict=True)), folder, f"{table}:{number}")


def _utterance(row: dict[str, str], folder: Path, place: str) -> Utterance:
    seconds = row.get("seconds", "")
    try:
        duration = float(seconds) if seconds else None
    except ValueError as error:
        raise DataError(f"{place}: seconds is {seconds!r}, expected a number such as 3.25") from error
    return Utterance(
        id=row["id"],
        path=folder / row["path"],
        text=row["text"],
        speaker=row.get("speaker", ""),
        split=row.get("split", ""),
        seconds=duration,
    )
