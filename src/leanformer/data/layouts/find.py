"""Which layout a folder has, and which corpora lie in a folder of corpora."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from leanformer.data.layouts import jsonl, librispeech, text_pairs, utterances_tsv
from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import DataError

_DEPTH = 3  # as in data/LibriSpeech/train-clean-5, which is how the archives unpack


@dataclass(frozen=True)
class Layout:
    """A way to lay out a corpus."""

    name: str
    detects: Callable[[Path], bool]
    read: Callable[[Path], Iterator[Utterance]]


_MARKED = (
    Layout("an utterances.tsv", utterances_tsv.detects, utterances_tsv.read),
    Layout("a JSONL manifest of cuts or {audio, text}", jsonl.detects, jsonl.read),
    Layout("LibriSpeech's *.trans.txt", librispeech.detects, librispeech.read),
)
# Any tree may hold pairs, so this one is asked only where no other layout is found.
_PAIRS = Layout("recordings with a .txt of the same name", text_pairs.detects, text_pairs.read)
_AUDIO = Layout("recordings alone", text_pairs.has_audio, text_pairs.read)


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk; `path` is a folder, or a manifest file."""

    path: Path
    layout: Layout

    @property
    def name(self) -> str:
        """The folder's name, or the manifest's without its suffixes."""
        return self.path.name if self.path.is_dir() else self.path.name.split(".jsonl")[0]

    def read(self) -> Iterator[Utterance]:
        """Yield its utterances."""
        return self.layout.read(self.path)


def find_corpora(root: Path, exclude: Sequence[str] = (), with_text: bool = True) -> list[Corpus]:
    """Return the corpus at `root`, or those inside it in order of name, without those named in `exclude`.

    Without `with_text`, any folder with recordings is one. Raises DataError if there is none, saying what was looked
    for.
    """
    unmarked = _PAIRS if with_text else _AUDIO
    if not root.exists():
        raise DataError(f"{root}: no such file or folder; expected a corpus, or a folder of corpora")
    found = _search(root.resolve(), frozenset(exclude), _DEPTH, unmarked)
    if not found:
        looked_for = "; ".join(layout.name for layout in (*_MARKED, unmarked))
        left_out = f" (left out: {', '.join(exclude)})" if exclude else ""
        raise DataError(f"{root}: no corpus here nor below{left_out}; looked for {looked_for}")
    return found


def _search(path: Path, exclude: frozenset[str], depth: int, unmarked: Layout) -> list[Corpus]:
    marked = _marked(path, exclude, depth)
    if not marked:
        return [Corpus(path, unmarked)] if path.is_dir() and unmarked.detects(path) else []
    if marked[0].path == path:
        return marked
    # Some children have marks: pairs, or recordings, in the others count as well.
    return [
        corpus
        for child in _children(path, exclude)
        for corpus in _search(child, exclude, depth - 1, unmarked)
    ]


def _marked(path: Path, exclude: frozenset[str], depth: int) -> list[Corpus]:
    own = next((layout for layout in _MARKED if layout.detects(path)), None)
    if own is not None:
        return [Corpus(path, own)]
    inside = _children(path, exclude) if depth else []
    return [corpus for child in inside for corpus in _marked(child, exclude, depth - 1)]


def _children(path: Path, exclude: frozenset[str]) -> list[Path]:
    if not path.is_dir():
        return []
    return [p for p in sorted(path.iterdir()) if p.is_dir() and p.name not in exclude and p.name[0] != "."]
