"""The clips to evaluate on, from corpora of every layout that training reads.

Neither torch nor lhotse is needed for this, but for manifests that hold lhotse's own cuts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from leanformer.data.layouts.selection import ALL, in_split
from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import DataError, MissingExtraError
from leanformer.text.normalization import normalize, outside_alphabet

NO_TEXT = "with an empty transcript"
UNCERTAIN = "with digits or letters beyond a-z in the transcript"
REPEATED = "with an id that was there before"


@dataclass(frozen=True, slots=True)
class Clip:
    """An utterance whose text is normalised, and the name of the corpus it is from."""

    corpus: str
    utterance: Utterance

    @property
    def name(self) -> str:
        """Unique among all clips: "corpus/id"."""
        return f"{self.corpus}/{self.utterance.id}"


@dataclass(frozen=True, slots=True)
class Clips:
    """What is there to evaluate, and how many utterances were left out for which reason."""

    clips: tuple[Clip, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)


def read_clips(
    folders: Sequence[str | Path],
    split: str = "dev",
    *,
    exclude: Sequence[str] = (),
    limit: int | None = None,
) -> Clips:
    """Read one split of some corpora.

    Args:
        folders: corpora, JSONL manifests, or folders of corpora; one that is named twice counts once.
        split: as for training: "dev" also stands for dev-clean and the like, an utterance without a split
            counts as "train", and "all" stands for every split.
        exclude: names of corpora to leave out.
        limit: at most so many clips of each corpus, evenly spread over it.

    An utterance is skipped, and counted, when its transcript is empty or does not tell what was said ("in
    1984"). Its sound is not looked at: a clip without a file is a failure, and for the evaluation to report.

    Raises:
        DataError: no corpus, or nothing in this split.
        MissingExtraError: a layout needs a library that is not installed.
    """
    clips: list[Clip] = []
    skipped: Counter[str] = Counter()
    splits: set[str] = set()
    for name, utterances in _corpora(folders, exclude):
        splits |= {utterance.split for utterance in utterances}
        wanted = [utterance for utterance in utterances if in_split(utterance.split, split)]
        found = list(_usable(wanted, name, skipped))
        clips += found if limit is None else _spread(found, limit)
    if not clips:
        seen = ", ".join(sorted(filter(None, splits))) or "none, which counts as 'train'"
        left_out = "".join(f"; skipped {count} {reason}" for reason, count in skipped.items())
        raise DataError(
            f"{', '.join(map(str, folders))}: nothing to evaluate in split {split!r} "
            f"(splits found: {seen}{left_out}). Name another split, or {ALL!r}"
        )
    return Clips(tuple(clips), dict(skipped))


def _corpora(folders: Sequence[str | Path], exclude: Sequence[str]) -> Iterator[tuple[str, list[Utterance]]]:
    """Each corpus once, with a name that no other has."""
    try:
        from leanformer.data.layouts.find import find_corpora

        found = {corpus.path: corpus for folder in folders for corpus in find_corpora(Path(folder), exclude)}
        names = Counter(corpus.name for corpus in found.values())
        for path, corpus in found.items():
            name = corpus.name if names[corpus.name] == 1 else f"{path.parent.name}/{corpus.name}"
            yield name, list(corpus.read())
    except ModuleNotFoundError as error:
        raise MissingExtraError((error.name or "lhotse").split(".")[0], "train") from error


def _usable(utterances: Sequence[Utterance], corpus: str, skipped: Counter[str]) -> Iterator[Clip]:
    seen: set[str] = set()
    for utterance in utterances:
        text = normalize(utterance.text)
        problem = (
            (NO_TEXT if not text else None)
            or (UNCERTAIN if outside_alphabet(text) else None)
            or (REPEATED if utterance.id in seen else None)
        )
        if problem:
            skipped[problem] += 1
            continue
        seen.add(utterance.id)
        yield Clip(corpus, replace(utterance, text=text))


def _spread(clips: Sequence[Clip], limit: int) -> list[Clip]:
    """At most `limit` of the clips: their first ones would all be by one speaker."""
    size = min(limit, len(clips))
    return [clips[place * len(clips) // size] for place in range(size)]
