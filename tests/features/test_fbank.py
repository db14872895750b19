import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch

from leanformer.features.fbank import Fbank
from leanformer.features.spec import FeatureSpec

# In float32 a log energy far below its frame's loudest is rounding noise: there Kaldi itself is up to 0.017
# away from a float64 computation. 16 nats (70 dB) below, both are still exact to 1e-3.
RELIABLE_NATS = 16.0


def kaldi(waveform: np.ndarray) -> np.ndarray:
    """Kaldi's own features of a whole recording, written out independently of `OnlineFbank`."""
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 80
    extractor = knf.OnlineFbank(options)
    extractor.accept_waveform(16_000, waveform * 32_768)
    extractor.input_finished()
    return np.stack([extractor.get_frame(i) for i in range(extractor.num_frames_ready)])


def features_of(waveform: np.ndarray, fbank: Fbank | None = None) -> np.ndarray:
    features, _ = (fbank or Fbank())(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
    return features[0].numpy()


def reliable(features: np.ndarray) -> np.ndarray:
    return features > features.max(axis=1, keepdims=True) - RELIABLE_NATS


def test_agrees_with_kaldi_on_speech(clip):
    ours, theirs = features_of(clip), kaldi(clip)
    difference = np.abs(ours - theirs)
    assert ours.shape == theirs.shape
    assert reliable(theirs).mean() > 0.98
    assert difference[reliable(theirs)].max() < 1e-3
    assert difference.max() < 0.05
    assert (difference > 1e-3).mean() < 1e-3


@pytest.mark.parametrize(
    "change", [{"preemphasis": 0.96}, {"waveform_scale": 32_767.0 * 1.01}, {"low_hz": 25.0}]
)
def test_control_another_spec_does_not_agree(clip, change):
    ours, theirs = features_of(clip, Fbank(FeatureSpec(**change))), kaldi(clip)
    assert np.abs(ours - theirs)[reliable(theirs)].max() > 1e-3


def test_a_constant_offset_is_removed(speech):
    np.testing.assert_allclose(
        features_of(speech + np.float32(0.25)), kaldi(speech + np.float32(0.25)), atol=0.05
    )


def test_silence_gives_the_floor():
    silence = np.zeros(16_000, dtype=np.float32)
    np.testing.assert_allclose(features_of(silence), np.log(np.finfo(np.float32).eps), atol=1e-6)
    np.testing.assert_allclose(features_of(silence), kaldi(silence), atol=1e-6)


@pytest.mark.parametrize("filler", [0.0, 1.0, float("nan"), float("inf")])
def test_padding_changes_nothing_and_gives_zeros(speech, filler):
    lengths = torch.tensor([48_000, 16_000, 400, 399, 0])
    batch = torch.full((5, 48_000), filler)
    for row, length in enumerate(lengths):
        batch[row, :length] = torch.from_numpy(speech[:length])
    features, feature_lengths = Fbank()(batch, lengths)
    assert feature_lengths.tolist() == [298, 98, 1, 0, 0]
    assert features.shape == (5, 298, 80)
    for row, frames in enumerate(feature_lengths.tolist()):
        alone = features_of(speech[: lengths[row]])
        np.testing.assert_allclose(features[row, :frames].numpy(), alone, atol=1e-5)
        assert (features[row, frames:] == 0).all()


def test_less_than_one_window_gives_no_frames():
    features, lengths = Fbank()(torch.zeros(2, 399), torch.tensor([399, 10]))
    assert features.shape == (2, 0, 80)
    assert lengths.tolist() == [0, 0]


def test_stays_float32_under_autocast(speech):
    plain = features_of(speech)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = features_of(speech)
    assert under_autocast.dtype == np.float32
    np.testing.assert_array_equal(under_autocast, plain)


def test_reads_but_does_not_change_its_input(speech):
    waveforms = torch.from_numpy(speech.copy())[None]
    Fbank()(waveforms, torch.tensor([30_000]))
    np.testing.assert_array_equal(waveforms[0].numpy(), speech)


def test_a_checkpoint_carries_no_constants():
    assert Fbank().state_dict() == {}
