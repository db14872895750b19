"""Span masks over encoder frames: what is hidden from the encoder, and has to be predicted.

As in wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477, section 3.1), spans of one length begin at random frames and
may overlap; here at least one lies in every utterance that is longer than a span. Spans are laid in encoder frames,
so that each of these is hidden whole or not at all.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leanformer.config import Frozen
from leanformer.config_types import NotNegative, PositiveInt, Share

_DRAW = 3
"""Sets these draws apart from the others that are seeded by (seed, step); see `train/schedule.py`."""


class MaskingConfig(Frozen):
    """How much is hidden, and what stands in its place."""

    span_frames: PositiveInt = 10
    """Encoder frames of a span."""
    probability: Share = 0.04
    """Of a frame being the first of a span: `probability * frames` spans are laid in an utterance, and at least one."""
    fill: Literal["noise", "zero"] = "noise"
    """What the encoder sees instead: Gaussian noise (BEST-RQ), or zero, the mean of the features (TERA)."""
    noise_std: NotNegative = 0.1
    """Of the noise, where features have a standard deviation of about 1."""


def draw_spans(
    frames: Tensor, size: int, config: MaskingConfig, seeds: tuple[int, int], draw: int = _DRAW
) -> Tensor:
    """Which encoder frames of each utterance are hidden: (B, size) booleans, on the CPU.

    A pure function of (utterance's place, its frames, seeds): neither padding nor the other rows have a part in it.

    Args:
        frames: (B,) whole encoder frames of each utterance; beyond them nothing is hidden.
        size: columns of the result.
        config: of the spans.
        seeds: (seed, step).
        draw: sets these draws apart from others of the same seeds.
    """
    hidden = np.zeros((len(frames), size), np.bool_)
    for row, count in enumerate(frames.tolist()):
        rng = np.random.default_rng((*seeds, draw, row))
        for start in _starts(count, config, rng):
            hidden[row, start : start + config.span_frames] = True
    return torch.from_numpy(hidden)


def _starts(frames: int, config: MaskingConfig, rng: np.random.Generator) -> NDArray[np.int64]:
    """First frames of the spans in an utterance; none if it is no longer than one span."""
    places = frames - config.span_frames
    if places <= 0:
        return np.empty(0, np.int64)
    wanted = int(config.probability * frames + rng.random())  # rounded at random, so that its mean is right
    return rng.choice(places + 1, size=min(max(1, wanted), places), replace=False)


def hide(
    features: Tensor, hidden: Tensor, factor: int, config: MaskingConfig, generator: torch.Generator
) -> Tensor:
    """Normalised features with those of hidden encoder frames replaced.

    Args:
        features: (B, T, F), what the encoder would see.
        hidden: (B, ceil(T / factor)) from `draw_spans`.
        factor: feature frames in an encoder frame.
        config: says by what.
        generator: of the noise, on the CPU whatever the device of the features.
    """
    wide = hidden.repeat_interleave(factor, dim=1)[:, : features.shape[1], None].to(features.device)
    if config.fill == "zero":
        return features.masked_fill(wide, 0.0)
    noise = torch.randn(features.shape, generator=generator).to(features) * config.noise_std
    return torch.where(wide, noise, features)
