"""Which data is meant: the default folder, and the names of splits."""

import os
from pathlib import Path

ALL = "all"


def default_data_folder() -> Path:
    """Return where corpora are looked for when none is named: $LEANFORMER_DATA, else ../shared/data."""
    return Path(os.environ.get("LEANFORMER_DATA") or "../shared/data")


def in_split(own: str, wanted: str | None) -> bool:
    """Tell whether an utterance of split `own` is in the split that is asked for.

    "train" also stands for LibriSpeech's train-clean-5 and the like. An utterance without a split counts as
    "train". None and "all" stand for every split.
    """
    return wanted in (None, ALL) or own == wanted or (own or "train").split("-")[0] == wanted
