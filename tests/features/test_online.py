import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leanformer.errors import AudioError
from leanformer.features.fbank import Fbank
from leanformer.features.online import OnlineFbank
from leanformer.features.spec import FeatureSpec


def in_pieces(waveform: np.ndarray, sizes: list[int], spec: FeatureSpec | None = None) -> np.ndarray:
    """Features of a waveform fed in pieces of the given sizes, again and again."""
    online, frames, start, turn = OnlineFbank(spec), [], 0, 0
    while start < len(waveform):
        size = sizes[turn % len(sizes)]
        online.accept(waveform[start : start + size])
        frames.append(online.pop())
        start, turn = start + size, turn + 1
    online.finish()
    return np.concatenate([*frames, online.pop()])


def at_once(waveform: np.ndarray) -> np.ndarray:
    return in_pieces(waveform, [len(waveform)])


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=5))
def test_any_pieces_give_the_same_frames(sizes):
    waveform = np.random.default_rng(0).standard_normal(24_000).astype(np.float32) * np.float32(0.1)
    np.testing.assert_array_equal(in_pieces(waveform, sizes), at_once(waveform))


def test_single_samples_give_the_same_frames(speech):
    np.testing.assert_array_equal(in_pieces(speech[:4000], [1]), at_once(speech[:4000]))


def test_agrees_with_the_training_features_on_speech(clip):
    batch = Fbank()(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))[0][0].numpy()
    online = in_pieces(clip, [3200, 17, 9999])
    assert online.shape == batch.shape
    loud = online > online.max(axis=1, keepdims=True) - 16.0
    assert np.abs(online - batch)[loud].max() < 1e-3


def test_every_field_of_the_spec_reaches_kaldi(speech):
    spec = FeatureSpec(
        sample_rate=8000, window_ms=20.0, shift_ms=5.0, num_mel_bins=40, low_hz=100.0, high_hz=3800.0,
        preemphasis=0.5, waveform_scale=1000.0,
    )  # fmt: skip
    batch = Fbank(spec)(torch.from_numpy(speech)[None], torch.tensor([len(speech)]))[0][0].numpy()
    online = in_pieces(speech, [1000], spec)
    assert online.shape == batch.shape == (spec.frames(len(speech)), 40)
    loud = online > online.max(axis=1, keepdims=True) - 15.0
    assert np.abs(online - batch)[loud].max() < 1e-3


def test_frames_come_as_soon_as_their_windows_are_complete(speech):
    online = OnlineFbank()
    online.accept(speech[:399])
    assert online.pop().shape == (0, 80)
    online.accept(speech[399:400])
    assert online.pop().shape == (1, 80)
    assert online.pop().shape == (0, 80)


def test_popped_frames_are_freed(speech):
    online = OnlineFbank()
    online.accept(speech)
    online.pop()
    with pytest.raises((IndexError, RuntimeError)):
        online._extractor.get_frame(0)


def test_finish_adds_no_frame_and_ends_the_stream(speech):
    online = OnlineFbank()
    online.accept(speech[:559])
    online.accept(speech[:0])
    online.finish()
    assert len(online.pop()) == 1
    with pytest.raises(AudioError, match="finished"):
        online.accept(speech)


def test_streaming_loads_no_torch():
    names = "leanformer.features.online, leanformer.audio.blocks, leanformer.audio.load"
    code = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
