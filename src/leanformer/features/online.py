"""The features of streaming: kaldi-native-fbank fed piece by piece, without torch.

Any split of the samples gives the same frames, because Kaldi keeps the samples that the next window
still needs. Frames that were popped are freed, so a stream of days needs no more memory than one of seconds.
"""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np
from numpy.typing import NDArray

from leanformer.errors import AudioError
from leanformer.features.spec import FeatureSpec


class OnlineFbank:
    """Samples in, log-mel frames out as soon as their windows are complete."""

    def __init__(self, spec: FeatureSpec | None = None) -> None:
        self.spec = spec or FeatureSpec()
        self._extractor = knf.OnlineFbank(_kaldi_options(self.spec))
        self._popped = 0
        self._finished = False

    def accept(self, samples: NDArray[np.float32]) -> None:
        """Add samples (S,) in [-1, 1] at the spec's rate; any S, 0 included.

        Raises AudioError after `finish`.
        """
        if self._finished:
            raise AudioError("this feature stream was finished: begin a new OnlineFbank for more samples")
        if len(samples):
            scaled = samples * np.float32(self.spec.waveform_scale)
            self._extractor.accept_waveform(self.spec.sample_rate, scaled)

    def finish(self) -> None:
        """Say that no more samples follow. What is left is shorter than a window and gives no frame."""
        self._extractor.input_finished()
        self._finished = True

    def pop(self) -> NDArray[np.float32]:
        """Take all frames that are ready, (n, num_mel_bins) float32, and forget them; n may be 0."""
        ready = range(self._popped, self._extractor.num_frames_ready)
        frames = np.empty((len(ready), self.spec.num_mel_bins), dtype=np.float32)
        for row, index in enumerate(ready):
            frames[row] = self._extractor.get_frame(index)
        self._extractor.pop(len(ready))
        self._popped += len(ready)
        return frames


def _kaldi_options(spec: FeatureSpec) -> knf.FbankOptions:
    """Every option that the spec fixes; the rest stays at Kaldi's default (povey window, log of power)."""
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = spec.sample_rate
    options.frame_opts.frame_length_ms = spec.window_ms
    options.frame_opts.frame_shift_ms = spec.shift_ms
    options.frame_opts.preemph_coeff = spec.preemphasis
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = spec.num_mel_bins
    options.mel_opts.low_freq = spec.low_hz
    options.mel_opts.high_freq = spec.high_hz
    return options
