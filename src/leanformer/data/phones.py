"""The phone inventory of frame labels: 39 ARPAbet phones and SIL, numbered from 1; 0 means unknown."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

SILENCE = "SIL"
PHONES = (
    *(SILENCE, "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH"),
    *("IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW"),
    *("V", "W", "Y", "Z", "ZH"),
)
UNKNOWN = 0
_IDS = {phone: number for number, phone in enumerate(PHONES, start=1)}

Segment = tuple[str, int, int]
"""Phone, first 10 ms frame, number of frames."""


def phone_id(name: str) -> int:
    """Return the id of a phone, 1..40, without regard to stress; what is no phone (noise, breath) is SIL."""
    return _IDS.get(name.rstrip("012"), _IDS[SILENCE])


def is_phone(name: str) -> bool:
    """Tell whether a name is one of the inventory."""
    return name in _IDS


def frame_labels(segments: Iterable[Segment]) -> NDArray[np.uint8]:
    """Return the phone id of each 10 ms frame, (T,); frames that no segment covers are 0."""
    segments = list(segments)
    labels = np.zeros(max((start + count for _, start, count in segments), default=0), np.uint8)
    for name, start, count in segments:
        labels[start : start + count] = phone_id(name)
    return labels
