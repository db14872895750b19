"""Microphones, through PortAudio and sounddevice (extra `mic`): a callback fills a queue, the recogniser empties it.

The callback runs in PortAudio's own thread, and must never wait: when the queue is full because the machine is too
slow, it drops the newest sound, and counts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, Full, Queue
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanformer.audio.samples import check_rate
from leanformer.errors import AudioError, MissingExtraError

BLOCK_SECONDS = 0.1
# Half a minute of 48 kHz in 16 bits is 3 MB; whoever lags behind further will not catch up.
MOST_SECONDS = 30.0
# No driver is silent for so long while its device is there: silence, too, comes as samples.
_GONE_SECONDS = 3.0
_LIST = "`leanformer mic --list-devices` shows what there is"


@dataclass(frozen=True, slots=True)
class Device:
    """A sound input as PortAudio knows it."""

    index: int
    name: str
    channels: int
    rate: int
    is_default: bool


class Microphone:
    """An open device: `blocks` gives what it hears, at `rate` Hz. Made by `open_microphone`."""

    def __init__(self, device: Device, most_seconds: float = MOST_SECONDS) -> None:
        self.name, self.rate = device.name, device.rate
        self._queue: Queue[NDArray[np.int16]] = Queue(max(1, round(most_seconds / BLOCK_SECONDS)))
        self._stream: Any = None
        self._heard = 0
        self._dropped = 0
        self._overflows = 0

    def hear(self, samples: NDArray[np.int16], frames: int, _: object, status: Any) -> None:
        """PortAudio's callback: `samples` (n, 1), which it uses again when this returns."""
        if status.input_overflow:  # the system dropped some, and does not say how many
            self._overflows += 1
        try:
            self._queue.put_nowait(samples[:, 0].copy())
        except Full:
            self._dropped += frames

    def take_losses(self) -> str | None:
        """What was not heard since the last call, in words; None if all was."""
        dropped, self._dropped = self._dropped, 0
        overflows, self._overflows = self._overflows, 0
        if dropped:
            return f"{dropped / self.rate:.1f} s of sound were dropped"
        return "some sound was dropped by the system" if overflows else None

    @property
    def blocks(self) -> Iterator[NDArray[np.int16]]:
        """What is heard, block by block (n,), as it comes; never ends by itself.

        Raises:
            AudioError: the device is gone.
        """
        silent = 0.0
        while True:
            try:
                # Short waits, so that a device that stops is noticed, and Ctrl-C on every system.
                block = self._queue.get(timeout=BLOCK_SECONDS)
            except Empty:
                silent += BLOCK_SECONDS
                if silent >= _GONE_SECONDS or not self._stream.active:
                    raise self._gone() from None
                continue
            silent = 0.0
            self._heard += len(block)
            yield block

    def rest(self) -> Iterator[NDArray[np.int16]]:
        """The blocks (n,) that were heard before this call and that nobody has taken; waits for nothing."""
        for _ in range(self._queue.qsize()):
            yield self._queue.get_nowait()

    def _gone(self) -> AudioError:
        return AudioError(
            f"microphone {self.name!r} stopped after {self._heard / self.rate:.1f} s; it may be unplugged or taken "
            "by another program: plug it in and begin again"
        )


def list_devices() -> list[Device]:
    """All inputs.

    Raises:
        AudioError: PortAudio is missing.
        MissingExtraError: sounddevice is.
    """
    library = _library()
    default = library.default.device[0]
    found = enumerate(library.query_devices())
    return [_device(index, one, index == default) for index, one in found if one["max_input_channels"] > 0]


@contextmanager
def open_microphone(device: str | None = None, most_seconds: float = MOST_SECONDS) -> Iterator[Microphone]:
    """Listen to a device until the context ends.

    Args:
        device: its index, or a part of its name that no other has; None for the system's default.
        most_seconds: how much to keep for a recogniser that is behind.

    Raises:
        AudioError: PortAudio is missing, there is no such device, or it cannot be opened.
        MissingExtraError: sounddevice is missing.
    """
    library = _library()
    chosen = _find(library, device)
    check_rate(chosen.rate, f"microphone {chosen.name!r}")
    microphone = Microphone(chosen, most_seconds)
    try:
        stream = library.InputStream(
            device=chosen.index,
            samplerate=chosen.rate,
            channels=1,
            dtype="int16",
            blocksize=round(BLOCK_SECONDS * chosen.rate),
            callback=microphone.hear,
        )
        microphone._stream = stream
        stream.start()
    except library.PortAudioError as error:
        raise AudioError(
            f"microphone {chosen.name!r} cannot be opened ({_reason(error)}); close what else uses it, or choose "
            f"another: {_LIST}"
        ) from error
    try:
        yield microphone
    finally:
        stream.close()


def _library() -> ModuleType:
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "sounddevice", "mic") from error
    except OSError as error:
        raise AudioError(
            "PortAudio is missing, through which microphones are heard; install it (Debian, Ubuntu: sudo apt install "
            "libportaudio2), or pipe sound in: arecord -f S16_LE -r 16000 | leanformer mic --device -"
        ) from error
    found: ModuleType = sounddevice
    return found


def _find(library: ModuleType, device: str | None) -> Device:
    wanted: int | str | None = int(device) if device is not None and device.isdecimal() else device
    if wanted is None and not list_devices():
        raise AudioError("no microphone found; plug one in, or pipe sound in: leanformer mic --device -")
    try:
        found = library.query_devices(wanted, "input")
    except (ValueError, library.PortAudioError) as error:
        what = "no default microphone" if device is None else f"no microphone {device!r}"
        raise AudioError(f"{what} ({_reason(error)}); {_LIST}") from error
    return _device(int(found["index"]), found, False)


def _device(index: int, found: dict[str, Any], is_default: bool) -> Device:
    return Device(
        index,
        str(found["name"]),
        int(found["max_input_channels"]),
        round(found["default_samplerate"]),
        is_default,
    )


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def in_lines(devices: Sequence[Device]) -> Iterator[str]:
    """The devices for a person to choose from."""
    for one in devices:
        mark = "*" if one.is_default else " "
        yield f"{mark} {one.index:3d}  {one.name}  ({one.channels} channels, {one.rate} Hz)"
