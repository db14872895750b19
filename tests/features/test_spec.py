import pytest

from leanformer.errors import ConfigError
from leanformer.features.spec import FeatureSpec


def test_the_default_is_kaldis_25_ms_window_every_10_ms():
    spec = FeatureSpec()
    assert (spec.window_samples, spec.shift_samples, spec.fft_size) == (400, 160, 512)


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98), (16_080, 99)]
)
def test_only_whole_windows_count(samples, frames):
    assert FeatureSpec().frames(samples) == frames


def test_survives_a_manifest():
    spec = FeatureSpec(sample_rate=8000, high_hz=4000.0, num_mel_bins=40)
    assert FeatureSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"colour": 1},
        {"num_mel_bins": "80"},
        {"num_mel_bins": 80.5},
        {"num_mel_bins": 0},
        {"preemphasis": True},
        {"high_hz": 9000.0},
        {"low_hz": 8000.0},
        {"sample_rate": 0},
        {"window_ms": 0.0},
        {"shift_ms": float("nan")},
    ],
)
def test_a_wrong_manifest_names_the_key(change):
    (key,) = change
    with pytest.raises(ConfigError, match=key):
        FeatureSpec.from_dict(FeatureSpec().to_dict() | change)


def test_a_missing_key_is_named():
    values = FeatureSpec().to_dict()
    del values["low_hz"]
    with pytest.raises(ConfigError, match="missing key 'low_hz'"):
        FeatureSpec.from_dict(values)
