"""A JSON-lines manifest, plain or gzipped: lhotse cuts, or one simple object a line.

A simple line: `{"audio": "clips/a.wav", "text": "...", "id"?, "speaker"?, "split"?, "duration"?}`; unknown
keys are ignored. A relative path is looked up beside the manifest. Of a lhotse cut, every supervision is an
utterance, so a long recording with many supervisions comes apart.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import DataError

_CUTS = ("MonoCut", "MultiCut", "MixedCut", "Cut")


def detects(path: Path) -> bool:
    """Tell whether `path` is a manifest, or a folder with one."""
    return bool(_manifests(path))


def read(path: Path) -> Iterator[Utterance]:
    """Yield the utterances; raises DataError naming the line that is neither a cut nor {"audio", "text"}."""
    for manifest in _manifests(path):
        for place, item in _lines(manifest):
            if item.get("type") in _CUTS:
                yield from _of_cut(item, place, manifest.parent)
            else:
                yield _of_line(item, place, manifest.parent)


def _manifests(path: Path) -> list[Path]:
    if path.is_dir():
        return [file for file in sorted(path.iterdir()) if _manifests(file)] if _any_jsonl(path) else []
    return [path] if path.is_file() and _is_jsonl(path) and _first_fits(path) else []


def _any_jsonl(folder: Path) -> bool:
    return any(_is_jsonl(file) and file.is_file() for file in folder.iterdir())


def _is_jsonl(path: Path) -> bool:
    return path.name.endswith((".jsonl", ".jsonl.gz"))


def _first_fits(manifest: Path) -> bool:
    """Tell whether the first line is one of ours: lhotse keeps other things in such files as well."""
    try:
        _, item = next(_lines(manifest), ("", {}))
    except DataError:
        return False
    return item.get("type") in _CUTS or {"audio", "text"} <= set(item)


def _lines(manifest: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    opener = gzip.open if manifest.suffix == ".gz" else open
    try:
        with opener(manifest, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    item = json.loads(line)
                    if not isinstance(item, dict):
                        raise ValueError("not an object")
                    yield f"{manifest}:{number}", item
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{manifest}: not JSON lines ({error}); expected one JSON object a line") from error


def _of_line(item: dict[str, Any], place: str, folder: Path) -> Utterance:
    audio, text, seconds = item.get("audio"), item.get("text"), item.get("duration")
    if not isinstance(audio, str) or not isinstance(text, str):
        raise DataError(f'{place}: expected {{"audio": path, "text": transcript}}, found {sorted(item)}')
    if seconds is not None and not isinstance(seconds, int | float):
        raise DataError(f"{place}: duration is {seconds!r}, expected seconds as a number")
    return Utterance(
        id=str(item.get("id") or Path(audio).with_suffix("")),
        path=folder / audio,
        text=text,
        speaker=str(item.get("speaker") or ""),
        split=str(item.get("split") or ""),
        seconds=seconds,
    )


def _of_cut(item: dict[str, Any], place: str, folder: Path) -> Iterator[Utterance]:
    # Here, not above: lhotse brings torch, and the other layouts are read without either.
    from lhotse.cut import MonoCut, MultiCut
    from lhotse.serialization import deserialize_item

    cut = deserialize_item(item)
    if not isinstance(cut, MonoCut | MultiCut) or not cut.has_recording:
        raise DataError(
            f"{place}: expected a cut of one recording; save mixed or feature-only cuts to audio first"
        )
    source = cut.recording.sources[0]
    if source.type != "file":
        raise DataError(
            f"{place}: its audio is a {source.type}, expected a file; save the recordings to files"
        )
    path = Path(source.source)
    path = path if path.is_absolute() or path.is_file() else folder / path
    for segment in cut.supervisions:
        custom = {**(cut.custom or {}), **(segment.custom or {})}
        whole = cut.start + segment.start <= 0 and segment.duration >= cut.recording.duration - 1e-3
        many = cut.recording.num_channels > 1
        channel = segment.channel if isinstance(segment.channel, int) else None
        yield Utterance(
            id=segment.id if len(cut.supervisions) > 1 else cut.id,
            path=path,
            text=segment.text or "",
            speaker=segment.speaker or "",
            split=str(custom.get("split") or ""),
            seconds=segment.duration,
            start=None if whole else max(0.0, cut.start + segment.start),
            channel=channel if many else None,
        )
