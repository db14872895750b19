"""Forced alignment of one utterance with PocketSphinx: which word and phone is spoken in which 10 ms.

PocketSphinx aligns in two passes, words and then phones within the words. Three things matter. `bestpath` must be
off: it moves word borders by a coarser score, and then the second pass finds no path in a quarter of all
utterances ("Failed to stop utterance processing"). `cmn="batch"` takes the cepstral mean from the utterance
alone, and a decoder is primed before each, so that a result does not depend on what was aligned before.

This module imports neither lhotse nor torch, since worker processes load it.
"""

import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanformer.data.decode import Source, try_decode
from leanformer.data.phones import Segment, is_phone
from leanformer.errors import MissingExtraError

Record = dict[str, Any]
Task = tuple[str, Source, str]
"""Utterance id, audio, transcript."""
_BEAMS: tuple[dict[str, float], ...] = (
    {},
    {"beam": 1e-120, "pbeam": 1e-120, "wbeam": 1e-100, "maxhmmpf": -1},
)
# Its Gaussians start from the best ones of the last frame heard, so that what came before would move some borders
# by a frame or a few. Hearing always the same tenth of a second first makes a result depend on nothing else.
_PRIMING = np.random.default_rng(0).integers(-500, 500, 1600).astype(np.int16)
_LOG_NOWHERE = "FATAL"


class Aligner:
    """Aligns transcripts with recordings; holds PocketSphinx's acoustic model, so make one per process.

    Raises:
        MissingExtraError: PocketSphinx is not installed.
    """

    def __init__(self) -> None:
        self._decoders = [_decoder(0)]

    def record(self, name: str, source: Source, text: str) -> Record:
        """Return {"id", "phones": [[name, start, frames], ...], "words": ...}; or "missing" or "error" for both.

        Words are like phones, [word, start, frames]: those of `text`, in its order, with pauses left out.
        """
        missing = sorted({word for word in text.split() if not self._knows(word)})
        if missing:
            return {"id": name, "missing": missing}
        decoded = try_decode(source, (1.0,))
        if isinstance(decoded, str):
            return {"id": name, "error": decoded}
        reason = ""
        for attempt in range(len(_BEAMS)):
            decoder = self._attempt(attempt, text)
            try:
                phones, words = _align(decoder, decoded[0], text)
                return {"id": name, "phones": phones, "words": words}
            except RuntimeError as error:
                reason = str(error)
                _recover(decoder)
        return {"id": name, "error": reason}

    def _attempt(self, attempt: int, text: str) -> Any:
        """Return the decoder of an attempt, made when it is first needed, which knows the words of `text`."""
        if attempt == len(self._decoders):
            self._decoders.append(_decoder(attempt))
        decoder = self._decoders[attempt]
        for word in set(text.split()):
            if decoder.lookup_word(word) is None:
                decoder.add_word(word, self._decoders[0].lookup_word(word), True)
        return decoder

    def _knows(self, word: str) -> bool:
        """Tell whether a word can be pronounced, asking flite about those the dictionary lacks."""
        decoder = self._decoders[0]
        if decoder.lookup_word(word) is not None:
            return True
        phones = _spell(word)
        if phones:
            decoder.add_word(word, " ".join(phones), True)
        return bool(phones)


def _decoder(attempt: int) -> Any:
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise MissingExtraError("pocketsphinx", "train") from error
    return Decoder(lm=None, loglevel=_LOG_NOWHERE, bestpath=False, cmn="batch", **_BEAMS[attempt])


def work(task: Task) -> Record:
    """Align one utterance in a worker process."""
    return _this_process().record(*task)


def end_with_parent() -> None:
    """Have a worker process end when its parent does, even by kill -9, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@cache
def _this_process() -> Aligner:
    return Aligner()


def _align(decoder: Any, samples: NDArray[np.int16], text: str) -> tuple[list[Segment], list[Segment]]:
    """Return the phones and the words of one utterance."""
    decoder.set_align_text("a")
    _pass(decoder, _PRIMING)
    decoder.set_align_text(text)
    _pass(decoder, samples)
    decoder.set_alignment()
    _pass(decoder, samples)
    spoken = set(text.split())
    phones, words = [], []
    for part in decoder.get_alignment():
        phones += [(phone.name, phone.start, phone.duration) for phone in part]
        name = part.name.partition("(")[0]  # "the(2)" is its second pronunciation
        if name in spoken:
            words.append((name, part.start, part.duration))
    return phones, words


def _pass(decoder: Any, samples: NDArray[np.int16]) -> None:
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()


def _recover(decoder: Any) -> None:
    """End an utterance that was left open by an error, so that the decoder can be used again."""
    try:
        decoder.end_utt()
    except RuntimeError:
        return  # it was not open


def _spell(word: str) -> Sequence[str]:
    """Return the phones flite would speak for a word, or none if flite is not installed or has none."""
    flite = shutil.which("flite")
    if flite is None or word.startswith("-"):
        return ()
    spoken = subprocess.run(
        [flite, "-t", word, "-ps", "-o", "none"], capture_output=True, text=True, check=False
    )
    phones = [{"AX": "AH"}.get(phone, phone) for phone in spoken.stdout.upper().split() if phone != "PAU"]
    return phones if all(map(is_phone, phones)) else ()
