"""Segments as text, JSON or subtitles, written while they come.

Each format is a generator from segments to pieces of output, so nothing waits for a recording's end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Literal

from leanformer.runtime.transcript import Segment, Word

Format = Literal["text", "json", "srt", "vtt"]
SUFFIXES: dict[Format, str] = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}

# What subtitle guidelines agree on: two lines of about 42 characters, one to seven seconds on screen.
_LINE_CHARACTERS = 42
_CUE_LINES = 2
_CUE_SECONDS = 7.0
_CUE_SHORTEST_SECONDS = 1.0


def text(segments: Iterable[Segment], name: str | None = None) -> Iterator[str]:
    """One line a segment. With a `name`, lines begin with it and a tab, and silence gives a line too."""
    prefix = "" if name is None else f"{name}\t"
    spoken = False
    for segment in segments:
        spoken = True
        yield f"{prefix}{segment.text}\n"
    if prefix and not spoken:
        yield f"{prefix}\n"


def json_line(segments: Iterable[Segment], name: str | None, duration: Callable[[], float]) -> Iterator[str]:
    """One JSON object on one line: file, segments (with words), words, text, duration.

    Words have start, end and confidence. Times are seconds. `duration` is asked for at the end, when it is known.
    """
    yield f'{{"file": {json.dumps(name)}, "segments": ['
    texts: list[str] = []
    words: list[str] = []
    for segment in segments:
        yield f"{', ' if texts else ''}{json.dumps(asdict(segment))}"
        texts.append(segment.text)
        words.extend(json.dumps(asdict(word)) for word in segment.words)
    yield f'], "words": [{", ".join(words)}], "text": {json.dumps(" ".join(texts))}, '
    yield f'"duration": {round(duration(), 3)}}}\n'


def srt(segments: Iterable[Segment], doubtful: float = 0.0) -> Iterator[str]:
    """SubRip subtitles; words of less confidence than `doubtful` in italics, the one mark that players share."""
    for number, cue in enumerate(_cues(segments), start=1):
        times = f"{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}"
        lines = "\n".join(" ".join(_italic(word, doubtful) for word in line) for line in cue.lines)
        yield f"{number}\n{times}\n{lines}\n\n"


def vtt(segments: Iterable[Segment], doubtful: float = 0.0) -> Iterator[str]:
    """WebVTT subtitles; a time tag before each word but a cue's first lets players follow the words.

    Words of less confidence than `doubtful` are of the class "doubtful", which a style at the top makes paler.
    """
    yield "WEBVTT\n\n"
    if doubtful:
        yield "STYLE\n::cue(.doubtful) {\n  opacity: 0.6;\n}\n\n"
    for cue in _cues(segments):
        lines = [" ".join(_tagged(word, cue.words[0], doubtful) for word in line) for line in cue.lines]
        yield f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n" + "\n".join(lines) + "\n\n"


def render(
    segments: Iterable[Segment],
    kind: Format,
    name: str | None,
    duration: Callable[[], float],
    doubtful: float = 0.0,
) -> Iterator[str]:
    """The pieces of output in the format `kind`; subtitles have no place for a name.

    Subtitles mark words whose confidence is below `doubtful`; at 0, none.
    """
    if kind == "json":
        return json_line(segments, name, duration)
    if kind == "srt":
        return srt(segments, doubtful)
    if kind == "vtt":
        return vtt(segments, doubtful)
    return text(segments, name)


@dataclass(frozen=True, slots=True)
class _Cue:
    """What stands on the screen at a time: words, in lines."""

    start: float
    end: float
    words: tuple[Word, ...]

    @property
    def lines(self) -> list[list[Word]]:
        return _lines(self.words)


def _cues(segments: Iterable[Segment]) -> Iterator[_Cue]:
    """Cues short enough to read; a very short one stays on a little, until the next begins."""
    held: _Cue | None = None
    for segment in segments:
        for words in _split(segment.words):
            cue = _Cue(words[0].start, words[-1].end, words)
            if held is not None:
                yield _lengthened(held, cue.start)
            held = cue
    if held is not None:
        yield _lengthened(held, float("inf"))


def _lengthened(cue: _Cue, limit: float) -> _Cue:
    wanted = max(cue.end, round(cue.start + _CUE_SHORTEST_SECONDS, 3))
    return replace(cue, end=max(cue.end, min(wanted, limit)))


def _split(words: tuple[Word, ...]) -> Iterator[tuple[Word, ...]]:
    first = 0
    for end in range(2, len(words) + 1):
        part = words[first:end]
        if len(_lines(part)) > _CUE_LINES or part[-1].end - part[0].start > _CUE_SECONDS:
            yield words[first : end - 1]
            first = end - 1
    yield words[first:]


def _lines(words: tuple[Word, ...]) -> list[list[Word]]:
    lines: list[list[Word]] = [[]]
    used = 0
    for word in words:
        used += 1 + len(word.word)
        if lines[-1] and used - 1 > _LINE_CHARACTERS:
            lines.append([])
            used = 1 + len(word.word)
        lines[-1].append(word)
    return lines


def _italic(word: Word, doubtful: float) -> str:
    return f"<i>{word.word}</i>" if word.confidence < doubtful else word.word


def _tagged(word: Word, first: Word, doubtful: float) -> str:
    escaped = word.word.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if word.confidence < doubtful:
        escaped = f"<c.doubtful>{escaped}</c>"
    return escaped if word is first else f"<{_clock(word.start, '.')}>{escaped}"


def _clock(seconds: float, mark: str) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{mark}{ms % 1000:03}"
