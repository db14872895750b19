"""SpecAugment: hide random bands and stretches of the features during training.

Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition"
(Interspeech 2019), without time warping; the number of time masks grows with the utterance, as in
"SpecAugment on large scale datasets" (ICASSP 2020): `min(time_masks, floor(time_density * frames))`.
Expects normalised features, so that the 0 of a mask is their mean.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from leanformer.config_types import NotNegativeInt, Share


@dataclass(frozen=True)
class SpecAugmentConfig:
    """How much to hide.

    Each of `freq_masks` bands covers 0 to `freq_width` bins. Each of up to `time_masks` stretches covers
    0 to `time_width` frames, never more than `time_ratio` of the utterance; one stretch is allowed for
    every `1 / time_density` frames, so that short utterances are not hidden whole.
    """

    freq_masks: NotNegativeInt = 2
    freq_width: NotNegativeInt = 27
    time_masks: NotNegativeInt = 10
    time_width: NotNegativeInt = 40
    time_ratio: Share = 0.05
    time_density: Share = 0.01


class SpecAugment:
    """Masks a batch of normalised features; every row draws its own masks."""

    def __init__(self, config: SpecAugmentConfig | None = None) -> None:
        self.config = config or SpecAugmentConfig()

    def __call__(self, features: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """Return a masked copy of `features`; the same generator state gives the same masks.

        Args:
            features: (B, T, F) normalised features.
            lengths: (B,) valid frames in each row; masks are placed within them.
            generator: source of the randomness, on the CPU whatever the device of the features.
        """
        config = self.config
        batch, num_frames, num_bins = features.shape
        device, lengths = features.device, lengths.cpu()

        widest = torch.full((batch, 1), min(config.freq_width, num_bins))
        bins = torch.full((batch, 1), num_bins)
        hidden_bins = _mask(widest.expand(batch, config.freq_masks), bins, num_bins, generator)

        allowed = torch.arange(config.time_masks) < (lengths[:, None] * config.time_density).long()
        widest = (lengths[:, None] * config.time_ratio).long().clamp(max=config.time_width)
        hidden_frames = _mask(widest * allowed, lengths[:, None], num_frames, generator)

        valid = (torch.arange(num_frames) < lengths[:, None])[:, :, None]
        hidden = (hidden_frames[:, :, None] | hidden_bins[:, None, :]) & valid
        return features.masked_fill(hidden.to(device), 0.0)


def _mask(widest: Tensor, extents: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Union of random intervals, as booleans (B, size).

    Args:
        widest: (B, M) largest width of each interval, included.
        extents: (B, 1) intervals lie within [0, extent).
        size: length of the masked axis.
        generator: draws a width in [0, widest] and then a start in [0, extent - width], both uniform.
    """
    # float64, so that a draw close to 1 never rounds up to the excluded bound.
    draws = torch.rand(2, *widest.shape, generator=generator, dtype=torch.float64)
    widths = (draws[0] * (widest + 1)).long()
    starts = (draws[1] * (extents - widths + 1)).long()
    places = torch.arange(size)
    inside = (places >= starts[:, :, None]) & (places < (starts + widths)[:, :, None])
    return inside.any(dim=1)
