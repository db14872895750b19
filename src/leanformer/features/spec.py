"""What one feature frame is. Training and streaming both read this definition, so they cannot drift apart.

The numbers are Kaldi's fbank defaults with 80 bins, which the streaming front end (kaldi-native-fbank)
computes natively. Normalisation is not part of a feature: it belongs to the model's graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from leanformer.errors import ConfigError


@dataclass(frozen=True)
class FeatureSpec:
    """The log-mel features of a model: Kaldi's povey-windowed fbank without dither or energy.

    A frame covers `window_ms` and begins every `shift_ms`; only whole windows count (Kaldi's
    `snip_edges`). Samples in [-1, 1] are multiplied by `waveform_scale`, because Kaldi's log floor
    (float32 epsilon) is meant for int16 samples. Mel bins span `low_hz` to `high_hz`.

    Raises ConfigError when the numbers do not describe a filter bank.
    """

    sample_rate: int = 16_000
    window_ms: float = 25.0
    shift_ms: float = 10.0
    num_mel_bins: int = 80
    low_hz: float = 20.0
    high_hz: float = 8_000.0
    preemphasis: float = 0.97
    waveform_scale: float = 32_768.0

    def __post_init__(self) -> None:
        _require(self.sample_rate > 0, "sample_rate", self.sample_rate, "a positive number of Hz")
        _require(self.window_ms > 0, "window_ms", self.window_ms, "a positive number")
        _require(self.shift_ms > 0, "shift_ms", self.shift_ms, "a positive number")
        _require(self.window_samples > 1, "window_ms", self.window_ms, "at least two samples long")
        _require(self.shift_samples > 0, "shift_ms", self.shift_ms, "at least one sample long")
        _require(self.num_mel_bins > 0, "num_mel_bins", self.num_mel_bins, "a positive number")
        _require(0 <= self.low_hz < self.high_hz, "low_hz", self.low_hz, "between 0 and high_hz")
        nyquist = self.sample_rate / 2
        _require(self.high_hz <= nyquist, "high_hz", self.high_hz, f"at most half the rate ({nyquist:g})")
        _require(0 <= self.preemphasis < 1, "preemphasis", self.preemphasis, "in [0, 1)")
        _require(self.waveform_scale > 0, "waveform_scale", self.waveform_scale, "a positive number")

    @property
    def window_samples(self) -> int:
        """Samples in one window: 400 by default."""
        return int(self.sample_rate * self.window_ms / 1000)

    @property
    def shift_samples(self) -> int:
        """Samples from one window's beginning to the next: 160 by default."""
        return int(self.sample_rate * self.shift_ms / 1000)

    @property
    def fft_size(self) -> int:
        """Length of the Fourier transform: the window rounded up to a power of two, 512 by default."""
        return 1 << (self.window_samples - 1).bit_length()

    def frames(self, samples: int) -> int:
        """How many frames `samples` samples give: 0 for less than one window."""
        if samples < self.window_samples:
            return 0
        return 1 + (samples - self.window_samples) // self.shift_samples

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain values, for a bundle's manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureSpec:
        """The spec that `to_dict` wrote.

        Raises ConfigError for a missing or unknown key, a value that is not a number, or an impossible one.
        """
        names = {field.name for field in fields(cls)}
        if wrong := sorted(names.symmetric_difference(values)):
            kind = "unknown" if wrong[0] in values else "missing"
            raise ConfigError(f"features: {kind} key {wrong[0]!r}; the keys are {', '.join(sorted(names))}")
        for name, value in values.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            _require(is_number, name, value, "a number")
            is_count = name in ("sample_rate", "num_mel_bins")
            _require(isinstance(value, int) or not is_count, name, value, "a whole number")
        return cls(**values)


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"features.{name} = {value!r}: it must be {expected}")
