"""Train, shrink, export and stream Conformer speech recognisers.

    from leanformer import Recognizer

    recognizer = Recognizer.load("default")
    print(recognizer.transcribe("speech.wav").text)

Names are imported when they are first used, so `import leanformer` itself costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leanformer.errors import (
        AudioError,
        BundleError,
        CheckpointError,
        CompressError,
        ConfigError,
        DataError,
        DesignError,
        ExportError,
        LeanformerError,
        MissingExtraError,
        TokenizerError,
    )
    from leanformer.runtime.batch import Batch
    from leanformer.runtime.recognizer import Recognizer
    from leanformer.runtime.stream import Stream
    from leanformer.runtime.transcript import Segment, Transcript, Word

__all__ = [
    "AudioError",
    "Batch",
    "BundleError",
    "CheckpointError",
    "CompressError",
    "ConfigError",
    "DataError",
    "DesignError",
    "ExportError",
    "LeanformerError",
    "MissingExtraError",
    "Recognizer",
    "Segment",
    "Stream",
    "TokenizerError",
    "Transcript",
    "Word",
]

_HOMES = {
    "Batch": "leanformer.runtime.batch",
    "Recognizer": "leanformer.runtime.recognizer",
    "Segment": "leanformer.runtime.transcript",
    "Stream": "leanformer.runtime.stream",
    "Transcript": "leanformer.runtime.transcript",
    "Word": "leanformer.runtime.transcript",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("leanformer")
    if name not in __all__:
        raise AttributeError(f"module 'leanformer' has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "leanformer.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
