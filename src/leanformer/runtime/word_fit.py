"""What `leanformer tune --words` found out about a model's words, as its bundle's manifest keeps it.

    "words": {
      "times": {"share": 0.45, "lead_ms_per_letter": 45.0, "lag_ms": 120.0},
      "confidence": {"greedy": {"a": 1.0, "b": 0.8, "c": -0.3}, "beam": ..., "beam+lm": ...},
      "fitted": "on what, in words"
    }

Bundles without it load, and use the frames themselves and probabilities as they are. Each kind of search has its own
map: a word that a language model chose against the sound is right more often than one that the sound alone chose.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from leanformer.errors import BundleError
from leanformer.runtime.confidence import IDENTITY, Calibration
from leanformer.runtime.word_times import FRAMES, WordTimes

KEY = "words"


@dataclass(frozen=True, slots=True)
class WordFit:
    """Times, and a map to confidence for each kind of search (`searching.search_kind`)."""

    times: WordTimes = FRAMES
    confidence: Mapping[str, Calibration] = field(default_factory=dict)
    fitted: str = ""
    "what it was found on, in words; empty if nothing was fitted"

    def calibration(self, kind: str) -> Calibration:
        """The map for a kind of search; the identity if none was fitted."""
        return self.confidence.get(kind, IDENTITY)


UNFITTED = WordFit()


def word_fit(values: object, path: Path) -> WordFit:
    """What a manifest says under "words"; raises BundleError naming its `path` and a value that is wrong."""
    try:
        if not isinstance(values, dict):
            raise TypeError("expected an object")
        return WordFit(
            WordTimes(**_numbers(values["times"])),
            {str(kind): Calibration(**_numbers(one)) for kind, one in values["confidence"].items()},
            str(values["fitted"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{path}: '{KEY}' is wrong ({type(error).__name__}: {error}); run `leanformer tune --words` again, or "
            "take it out"
        ) from error


def write_word_fit(path: Path, fit: WordFit) -> None:
    """Put it into the manifest at `path`, all else as it is, or raise BundleError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values[KEY] = asdict(fit)
        beside.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise BundleError(
            f"{path}: cannot be written ({error.strerror}); copy the bundle to a folder of your own"
        ) from error


def _numbers(values: object) -> dict[str, Any]:
    if not isinstance(values, dict) or any(type(one) not in (int, float) for one in values.values()):
        raise TypeError(f"expected numbers by name, found {values!r}")
    return values
