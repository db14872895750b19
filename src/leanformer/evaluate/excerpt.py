"""A piece of a long recording, or one channel of it: what some manifests call an utterance."""

from __future__ import annotations

import numpy as np
import soundfile
from numpy.typing import NDArray

from leanformer.data.layouts.utterance import Utterance
from leanformer.errors import AudioError


def read_excerpt(utterance: Utterance) -> tuple[NDArray[np.float32], int]:
    """The samples (S, channels) float32 of an utterance within its recording, and their rate in Hz.

    Raises AudioError when the file cannot be read, or has no such channel or no samples there.
    """
    path = utterance.path
    if not path.is_file():
        raise AudioError(f"{path} does not exist; check the manifest")
    try:
        with soundfile.SoundFile(path) as sound:
            rate = sound.samplerate
            first = round((utterance.start or 0.0) * rate)
            sound.seek(min(first, sound.frames))
            count = -1 if utterance.seconds is None else round(utterance.seconds * rate)
            samples = sound.read(count, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path} cannot be read ({error}); convert or copy it again") from error
    if utterance.channel is not None:
        if not 0 <= utterance.channel < samples.shape[1]:
            raise AudioError(
                f"{path} has {samples.shape[1]} channels, so there is no channel {utterance.channel}"
            )
        samples = samples[:, utterance.channel : utterance.channel + 1]
    if not len(samples):
        raise AudioError(f"{path} has no samples at {utterance.start or 0.0:.2f} s; check the manifest")
    return samples, rate
