"""What a benchmark has found already, in files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leanformer.cli.outputs import replacing


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """The plain values in a file, which are made and written first if it is not there."""
    if not path.exists():
        write_whole(path, json.dumps(make(), indent=1))
    return json.loads(path.read_text(encoding="utf-8"))


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all, whenever this is stopped."""
    with replacing(path) as file:
        file.write(text)


def key(*parts: object) -> str:
    """Ten letters that differ where any part does: what a file was made from, for its name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:10]


def say(line: str) -> None:
    """A line on standard error, at once."""
    print(line, file=sys.stderr, flush=True)
