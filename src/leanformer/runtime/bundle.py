"""A bundle: the folder that `leanformer export` writes and every runtime reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from leanformer.errors import BundleError, ConfigError
from leanformer.runtime.manifest import (
    FILE_NAME,
    TOKENIZER,
    Manifest,
    SecondPart,
    TransducerPart,
    read_manifest,
)
from leanformer.runtime.word_fit import UNFITTED

Precision = Literal["int8", "fp32"]
Pass = Literal["first", "second"]

DEFAULT = "default"
_DEFAULT_FOLDER = Path(__file__).parent.parent / "models" / "default"


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: every part is there and is what the manifest says."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path = DEFAULT) -> Bundle:
        """Open the bundle in the folder `path`, or the model that ships with Leanformer for "default".

        Raises:
            BundleError: no such folder, no manifest, unknown version, a part missing or altered.
        """
        folder = _DEFAULT_FOLDER if path == DEFAULT else Path(path)
        if path == DEFAULT and not folder.is_dir():
            raise BundleError(
                "this installation of leanformer has no default model: name a bundle (--model FOLDER), "
                "or make one with `leanformer export`"
            )
        if not folder.is_dir():
            found = "is not a folder" if folder.exists() else "does not exist"
            raise BundleError(
                f"{folder}: {found}; expected a bundle that `leanformer export` wrote, or 'default'"
            )
        manifest = read_manifest(folder)
        for part, digest in manifest.parts.items():
            _verify(folder / part, digest)
        return cls(folder, manifest)

    @property
    def tokenizer_path(self) -> Path:
        """The SentencePiece model."""
        return self.folder / TOKENIZER

    @property
    def second(self) -> SecondPart:
        """What the manifest says of the second pass; raises BundleError if there is but one pass."""
        if self.manifest.second is None:
            raise BundleError(
                f"{self.folder}: this bundle has one pass only; for a second, export a model that was trained with "
                "a [model.second]"
            )
        return self.manifest.second

    @property
    def transducer(self) -> TransducerPart:
        """What the manifest says of the transducer; raises BundleError if there is none."""
        if self.manifest.transducer is None:
            raise BundleError(
                f"{self.folder}: this bundle has no transducer (it has: {', '.join(self.manifest.decoders)}); for one, "
                "export a model that was trained with a [model.transducer]"
            )
        return self.manifest.transducer

    def at_depth(self, depth: int | None, first_pass_only: bool = False) -> Bundle:
        """The bundle as if its model had `depth` layers; None, and as many as there are, leave it as it is.

        Cut off, it has no second pass, and what was fitted for the words of the full depth does not count.

        Args:
            depth: layers of the first pass to run, of those that the model was exported for.
            first_pass_only: that the second pass, if there is one, is not wanted.

        Raises:
            ConfigError: it was not exported for that depth, or a second pass would read what it was not trained on.
        """
        given = self.manifest
        if depth is None or depth == given.depth:
            return self
        if depth not in given.shallow:
            raise ConfigError(f"depth {depth}: {_depths_in_words(given, depth)}")
        if given.second is not None and not first_pass_only:
            raise ConfigError(
                f"depth {depth}: the second pass of {given.name!r} was trained on what all {given.depth} layers give; "
                "add --first-pass (in Python: first_pass_only=True), or leave the depth out"
            )
        part = given.shallow[depth]
        cut = replace(
            given,
            name=f"{given.name} at depth {depth}",
            graphs=part.graphs,
            state=part.state,
            second=None,
            words=UNFITTED,
            depth=depth,
            shallow={},
        )
        return replace(self, manifest=cut)

    def graph_path(self, precision: str, which: Pass = "first") -> Path:
        """The ONNX graph of a pass in one precision.

        Raises:
            BundleError: there is none; the message says what the bundle has.
        """
        graphs = self.manifest.graphs if which == "first" else self.second.graphs
        if precision not in graphs:
            raise BundleError(
                f"{self.folder}: no {precision!r} graph; this bundle has {', '.join(sorted(graphs))}. "
                "Choose one of these, or export the model again"
            )
        return self.folder / graphs[precision]


def _depths_in_words(manifest: Manifest, wanted: int) -> str:
    """What to say of a depth that cannot be run at, and of those that can."""
    full, name = manifest.depth, repr(manifest.name)
    again = f"export the model again with --depths {wanted}, if it has an exit there"
    if full is None:
        return f"{name} was exported for its full depth only; leave the depth out, or {again}"
    known = ", ".join(map(str, sorted((*manifest.shallow, full))))
    if not 1 <= wanted <= full:
        return f"{name} has layers 1 to {full}, and runs at depth {known}; choose one of these"
    return f"{name} runs at depth {known}; choose one of these, or {again}"


def _verify(part: Path, digest: str) -> None:
    try:
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise BundleError(f"{part}: this part of the bundle is missing; copy or export it again") from error
    except OSError as error:
        raise BundleError(f"{part}: this part of the bundle cannot be read ({error.strerror})") from error
    if found != digest:
        raise BundleError(
            f"{part}: altered since the export (sha256 {found[:12]}…, but {FILE_NAME} says {digest[:12]}…); "
            "copy or export the bundle again"
        )
