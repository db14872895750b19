"""The file of a forced alignment: JSON lines, one utterance each.

A line is {"id", "phones": [[name, first 10 ms frame, frames], ...], "words": [[word, first frame, frames], ...]},
or has "missing" (words nobody can spell) or "error" in their place. Files from before words were kept lack
"words", and are otherwise the same.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from leanformer.data.aligner import Record
from leanformer.data.phones import Segment
from leanformer.errors import DataError


def read_records(path: Path) -> Iterator[Record]:
    """Yield the lines of a file, without a last one that was cut off as a run was stopped.

    Raises DataError if the file cannot be read, or naming a line that is no record.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the alignment ({error.strerror}); make it with `leanformer align`"
        ) from error
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            record["id"]
        except (ValueError, KeyError, TypeError) as error:
            raise malformed(path, number) from error
        yield record


def load_words(path: Path) -> dict[str, list[Segment]]:
    """Return the words of each utterance in their order, by utterance id; without those that have none.

    Raises DataError as `read_records` does, or naming a line whose words are not as expected.
    """
    words: dict[str, list[Segment]] = {}
    for number, record in enumerate(read_records(path), start=1):
        try:
            found = [(str(word), int(start), int(frames)) for word, start, frames in record.get("words", ())]
        except (TypeError, ValueError) as error:
            raise malformed(path, number) from error
        if found:
            words[key(record)] = found
    return words


def key(record: Mapping[str, Any]) -> str:
    """Return the utterance's id, "corpus/utterance"; old files have the corpus apart."""
    return f"{record['corpus']}/{record['id']}" if "corpus" in record else str(record["id"])


def malformed(path: Path, line: int) -> DataError:
    """Return the error for a line that is not as expected."""
    return DataError(
        f'{path}:{line}: expected {{"id": ..., "phones": [[name, start, frames], ...]}}; remove this line'
    )
