import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from leanformer.audio.samples import StreamResampler, as_float_mono, check_rate
from leanformer.errors import AudioError

NOTHING = np.zeros(0, np.float32)


def resampled(samples: np.ndarray, rate_in: int, rate_out: int, sizes: list[int]) -> np.ndarray:
    resampler, out, start, turn = StreamResampler(rate_in, rate_out), [], 0, 0
    while start < len(samples):
        size = sizes[turn % len(sizes)]
        out.append(resampler.push(samples[start : start + size]))
        start, turn = start + size, turn + 1
    return np.concatenate([*out, resampler.push(NOTHING, last=True)])


@pytest.mark.parametrize("rate", [1000, 8000, 44_100.0, 768_000])
def test_possible_rates_pass(rate):
    check_rate(rate, "x")


@pytest.mark.parametrize("rate", [0, -16_000, 999, 768_001, 2**32 - 1, float("nan"), float("inf")])
def test_impossible_rates_are_named(rate):
    with pytest.raises(AudioError, match=r"x\.wav: a sample rate of .* Hz is impossible"):
        check_rate(rate, "x.wav")


def test_int16_and_float_give_the_same_samples():
    integers = np.array([-32_768, -1, 0, 1, 32_767], np.int16)
    floats = as_float_mono(integers, "x")
    assert floats.dtype == np.float32
    assert floats.tolist() == [-1.0, -1 / 32_768, 0.0, 1 / 32_768, 32_767 / 32_768]
    for kind in (np.float16, np.float64, ">f4"):
        np.testing.assert_allclose(as_float_mono(floats.astype(kind), "x"), floats, atol=1e-3)
    np.testing.assert_array_equal(as_float_mono(integers.astype(">i2"), "x"), floats)


def test_channels_are_averaged():
    stereo = np.array([[1.0, 0.0], [0.5, -0.5]], np.float32)
    assert as_float_mono(stereo, "x").tolist() == [0.5, 0.0]
    assert as_float_mono((stereo * 2**14).astype(np.int16), "x").tolist() == [0.25, 0.0]
    assert as_float_mono(stereo[:, :1], "x").tolist() == [1.0, 0.5]


def test_no_samples_are_fine():
    assert as_float_mono(NOTHING, "x").shape == (0,)
    assert as_float_mono(np.zeros((0, 2), np.int16), "x").shape == (0,)


@pytest.mark.parametrize(
    "kind", [np.int32, np.int64, np.uint8, np.int8, np.uint16, bool, complex, str, object]
)
def test_other_types_are_refused(kind):
    with pytest.raises(AudioError, match=r"my samples: samples of type .* cannot be used; give floats"):
        as_float_mono(np.zeros(3).astype(kind), "my samples")


@pytest.mark.parametrize("shape", [(), (2, 3, 4), (2, 16_000), (5, 0)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(AudioError, match="expected samples of shape"):
        as_float_mono(np.zeros(shape, np.float32), "x")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_nan_and_infinity_are_counted_and_placed(bad):
    samples = np.zeros((10, 2))
    samples[[3, 7], 1] = bad
    with pytest.raises(AudioError, match="x: 2 of 10 samples are NaN or infinite, the first is number 3"):
        as_float_mono(samples, "x")


def test_floats_of_integer_size_are_refused_but_overshoot_is_not():
    assert as_float_mono(np.array([1.7, -1.2]), "x").max() > 1
    with pytest.raises(AudioError, match="reach 20000; divide"):
        as_float_mono(np.array([0.0, -20_000.0]), "x")


@pytest.mark.parametrize("rate_in", [8000, 22_050, 44_100, 48_000])
def test_the_stream_equals_soxr_on_the_whole(rate_in):
    samples = np.random.default_rng(0).standard_normal(rate_in).astype(np.float32)
    np.testing.assert_array_equal(
        resampled(samples, rate_in, 16_000, [777]), soxr.resample(samples, rate_in, 16_000)
    )


@settings(max_examples=30)
@given(
    rate_in=st.sampled_from([8000, 11_025, 44_100, 48_000]),
    sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=6),
)
def test_any_split_resamples_alike(rate_in, sizes):
    samples = np.random.default_rng(1).standard_normal(24_000).astype(np.float32)
    whole = StreamResampler(rate_in, 16_000).push(samples, last=True)
    np.testing.assert_array_equal(resampled(samples, rate_in, 16_000, sizes), whole)
    assert abs(len(whole) - 24_000 * 16_000 / rate_in) <= 1


def test_strided_samples_are_read_as_they_are():
    stereo = np.random.default_rng(2).standard_normal((4000, 2)).astype(np.float32)
    left = stereo[:, 0]
    whole = StreamResampler(8000, 16_000).push(left.copy(), last=True)
    np.testing.assert_array_equal(StreamResampler(8000, 16_000).push(left, last=True), whole)


def test_a_tone_keeps_its_pitch_and_a_high_one_is_removed():
    seconds = np.arange(48_000) / 48_000
    for hz, kept in ((440, 1.0), (11_000, 0.0)):
        tone = np.sin(2 * np.pi * hz * seconds).astype(np.float32)
        middle = resampled(tone, 48_000, 16_000, [999])[1000:-1000]
        assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(kept, abs=1e-3)


def test_equal_rates_pass_through_at_once():
    samples = np.arange(5, dtype=np.float32)
    assert StreamResampler(16_000, 16_000).push(samples) is samples


def test_an_ended_resampler_says_so():
    for rate in (16_000, 8000):
        resampler = StreamResampler(rate, 16_000)
        resampler.push(NOTHING, last=True)
        with pytest.raises(AudioError, match="has ended"):
            resampler.push(NOTHING)


def test_impossible_rates_are_refused_at_once():
    with pytest.raises(AudioError, match="input"):
        StreamResampler(0, 16_000)
    with pytest.raises(AudioError, match="output"):
        StreamResampler(16_000, 10**7)
