"""Microphones by way of a stand-in for sounddevice: what PortAudio does, and what it fails at."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from leanformer.audio import microphone as room
from leanformer.audio.microphone import Device, Microphone, in_lines, list_devices, open_microphone
from leanformer.errors import AudioError, MissingExtraError

RATE = 48_000
FINE = SimpleNamespace(input_overflow=False)
DEVICES = [
    {"name": "speakers", "max_input_channels": 0, "default_samplerate": 44_100.0},
    {"name": "built-in", "max_input_channels": 2, "default_samplerate": 44_100.0},
    {"name": "headset", "max_input_channels": 1, "default_samplerate": float(RATE)},
]


class StandIn(ModuleType):
    """As much of sounddevice as is used; `streams` are those that were opened."""

    class PortAudioError(Exception):
        pass

    def __init__(self, devices: list[dict[str, Any]], refuses: bool = False) -> None:
        super().__init__("sounddevice")
        self.devices, self.streams = devices, []
        self.default = SimpleNamespace(device=(1, 0))
        outer = self

        class InputStream:
            def __init__(self, callback: Callable[..., None], **options: Any) -> None:
                if refuses:
                    raise outer.PortAudioError(
                        "Error opening InputStream: Device unavailable [PaErrorCode -9985]"
                    )
                self.callback, self.options, self.active, self.closed = callback, options, False, False
                outer.streams.append(self)

            def start(self) -> None:
                self.active = True

            def close(self) -> None:
                self.closed = True

        self.InputStream = InputStream

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        if kind is None:
            return self.devices
        wanted = self.default.device[0] if device is None else device
        for index, one in enumerate(self.devices):
            if wanted == index or (isinstance(wanted, str) and wanted in one["name"]):
                return one | {"index": index}
        raise ValueError(f"No input device matching {device!r}")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    library = StandIn(DEVICES)
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    return library


def block(value: int, frames: int = 4_800) -> np.ndarray:
    return np.full((frames, 1), value, np.int16)


def test_inputs_are_listed_with_the_default_one(library: StandIn) -> None:
    assert [(one.index, one.name) for one in list_devices()] == [(1, "built-in"), (2, "headset")]
    assert list(in_lines(list_devices())) == [
        "*   1  built-in  (2 channels, 44100 Hz)",
        "    2  headset  (1 channels, 48000 Hz)",
    ]


@pytest.mark.parametrize(
    ("device", "name", "rate"),
    [(None, "built-in", 44_100), ("2", "headset", RATE), ("head", "headset", RATE)],
)
def test_a_device_is_chosen(library: StandIn, device: str | None, name: str, rate: int) -> None:
    with open_microphone(device) as microphone:
        assert (microphone.name, microphone.rate) == (name, rate)
        (stream,) = library.streams
        assert (stream.options["samplerate"], stream.options["channels"]) == (rate, 1)
    assert stream.closed


def test_what_is_heard_comes_in_order(library: StandIn) -> None:
    with open_microphone("headset") as microphone:
        buffer = block(0)
        for value in (1, 2, 3):
            buffer[:] = value  # PortAudio, too, uses one buffer again and again
            library.streams[0].callback(buffer, len(buffer), None, FINE)
        assert [(int(one[0]), one.shape) for one in islice(microphone.blocks, 3)] == [
            (1, (4_800,)), (2, (4_800,)), (3, (4_800,)),
        ]  # fmt: skip
        assert microphone.take_losses() is None


def test_what_waits_in_the_queue_is_not_lost(library: StandIn) -> None:
    with open_microphone("headset") as microphone:
        for value in (1, 2):
            library.streams[0].callback(block(value), 4_800, None, FINE)
        rest = microphone.rest()
        assert int(next(rest)[0]) == 1
        library.streams[0].callback(block(3), 4_800, None, FINE)  # comes after it was asked for
        assert [int(one[0]) for one in rest] == [2]


def test_sound_for_which_there_is_no_room_is_counted(library: StandIn) -> None:
    with open_microphone("headset", most_seconds=0.3) as microphone:
        for value in range(5):
            library.streams[0].callback(block(value), 4_800, None, FINE)
        assert microphone.take_losses() == "0.2 s of sound were dropped"
        assert microphone.take_losses() is None
        assert [int(one[0]) for one in islice(microphone.blocks, 3)] == [0, 1, 2]
        library.streams[0].callback(block(9), 4_800, None, SimpleNamespace(input_overflow=True))
        assert microphone.take_losses() == "some sound was dropped by the system"


def test_a_device_that_goes_away_is_an_error_after_what_it_heard(library: StandIn) -> None:
    with open_microphone("headset") as microphone:
        library.streams[0].callback(block(1), 4_800, None, FINE)
        library.streams[0].active = False
        blocks = microphone.blocks
        assert len(next(blocks)) == 4_800
        with pytest.raises(AudioError, match=r"'headset' stopped after 0\.1 s; it may be unplugged"):
            next(blocks)


def test_a_device_that_falls_silent_for_good_is_gone(
    library: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_GONE_SECONDS", 0.2)
    with open_microphone("headset") as microphone, pytest.raises(AudioError, match="unplugged"):
        next(microphone.blocks)


@pytest.mark.parametrize("device", ["nothing", "7"])
def test_an_unknown_device_is_named(library: StandIn, device: str) -> None:
    with (
        pytest.raises(AudioError, match=f"no microphone '{device}' .*--list-devices"),
        open_microphone(device),
    ):
        pass


def test_no_device_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", StandIn(DEVICES[:1]))
    with pytest.raises(AudioError, match="no microphone found; plug one in"), open_microphone():
        pass


def test_a_device_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", StandIn(DEVICES, refuses=True))
    says = r"'built-in' cannot be opened \(.*unavailable.*close what else"
    with pytest.raises(AudioError, match=says), open_microphone():
        pass


def test_an_impossible_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    library = StandIn([DEVICES[0], DEVICES[1] | {"default_samplerate": 0.0}])
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    with pytest.raises(AudioError, match="'built-in': a sample rate of 0 Hz"), open_microphone():
        pass


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match=r"leanformer\[mic\]"):
        list_devices()

    class NoPortAudio:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr(sys, "meta_path", [NoPortAudio(), *sys.meta_path])
    with pytest.raises(AudioError, match=r"PortAudio is missing.*apt install libportaudio2"):
        list_devices()


def test_a_microphone_needs_no_stream_to_hear() -> None:
    microphone = Microphone(Device(0, "any", 1, RATE, True))
    microphone.hear(block(5), 4_800, None, FINE)
    assert next(microphone.blocks)[0] == 5
