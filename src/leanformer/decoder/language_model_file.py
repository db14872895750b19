"""The file of a language model: what `leanformer lm` writes, and how it is to be used.

A NumPy archive (.npz) of the arrays of `NGram`, compressed, with a header in JSON. The header names the pieces that
the model's tokens stand for, by their hash, so that it is not used with another tokenizer; and the weight and bonus
that `leanformer tune` found.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leanformer.decoder.ngram import NGram
from leanformer.errors import ConfigError

FORMAT = "leanformer-lm"
VERSION = 1

_ARRAYS = ("token", "log_prob", "children", "backoff", "log_prob_table", "backoff_table")


@dataclass(frozen=True, slots=True)
class Header:
    """What goes with the numbers."""

    pieces: str
    "`pieces_hash` of the tokenizer"
    weight: float = 0.5
    bonus: float = 0.5
    tuned: str = ""
    "what weight and bonus were found with, in words; empty if they are a guess"


def pieces_hash(pieces: Sequence[str]) -> str:
    """The same for tokenizers with the same pieces in the same order."""
    return hashlib.sha256("\n".join(pieces).encode()).hexdigest()


def to_bytes(ngram: NGram, header: Header) -> bytes:
    """The file's content; the same model gives the same bytes."""
    about = {"format": FORMAT, "version": VERSION, "levels": ngram.levels, **asdict(header)}
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, header=text, **{name: getattr(ngram, name) for name in _ARRAYS})
    return file.getvalue()


def read(path: str | Path) -> tuple[NGram, Header]:
    """A model and its header.

    Raises:
        ConfigError: the file cannot be read, is no language model, or of an unknown version.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(archive["header"].tobytes())
            arrays = {name: archive[name] for name in _ARRAYS}
        return _checked(about, arrays, str(path))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read the language model ({error.strerror or error}); make one with `leanformer lm`"
        ) from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: not a language model that `leanformer lm` wrote") from error


def _checked(about: Any, arrays: dict[str, Any], name: str) -> tuple[NGram, Header]:
    """Raises what `read` takes for a broken file if the parts do not fit together."""
    if about["format"] != FORMAT:
        raise ValueError(about["format"])
    if about["version"] != VERSION:
        raise ConfigError(
            f"{name}: version {about['version']}, but this Leanformer reads version {VERSION}; "
            "upgrade leanformer, or build it again with `leanformer lm`"
        )
    levels = tuple(map(int, about["levels"]))
    token, children = arrays["token"], arrays["children"]
    below = sum(levels[:-1])
    sizes = {"token": sum(levels), "log_prob": sum(levels), "children": below, "backoff": below}
    fits = (
        all(arrays[part].shape == (size,) for part, size in sizes.items())
        and int(children.sum(dtype=np.int64)) == sum(levels[1:])
        and arrays["log_prob_table"].shape == (len(levels), 256)
        and arrays["backoff_table"].shape == (len(levels) - 1, 256)
        and int(token.max()) < levels[0]
        and all(np.isfinite(arrays[part]).all() for part in ("log_prob_table", "backoff_table"))
    )
    header = Header(about["pieces"], float(about["weight"]), float(about["bonus"]), str(about["tuned"]))
    if not fits or not math.isfinite(header.weight + header.bonus):
        raise ValueError("parts that do not fit together")
    return NGram(vocabulary_size=levels[0], levels=levels, **arrays), header
