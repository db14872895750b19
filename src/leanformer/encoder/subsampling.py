"""Stateful convolutional subsampling in time by 4 or 8, depthwise-separable, without overlap-and-drop.

Each stage is a 3 x 3 convolution with stride 2 over (time, frequency). Output frame o reads input frames
2o - 1, 2o and 2o + 1, so a stage remembers exactly one input frame, and no input is computed twice.
"""

import torch
from torch import Tensor, nn

from leanformer.config import SubsamplingConfig
from leanformer.layers.masks import valid_frames
from leanformer.layers.normalization import make_activation
from leanformer.layers.streaming import Context, last_frames, state


@state
class SubsamplingState:
    """`caches`: for each stage its last input frame, (B, 1, C, F)."""

    caches: tuple[Tensor, ...]


class Subsampling(nn.Module):
    """Features (B, T, num_bins) -> (B, ceil(T / factor), model_dim).

    A step's length must be a multiple of `factor` except at the end of a stream, where the missing frames
    count as zeros, which is what padding is too.
    """

    def __init__(self, num_bins: int, dim: int, config: SubsamplingConfig, activation: str) -> None:
        super().__init__()
        self.factor = config.factor
        stages: list[nn.Module] = []
        sizes: list[tuple[int, int]] = []
        channels, bins = 1, num_bins
        for _ in range(config.factor.bit_length() - 1):
            sizes.append((channels, bins))
            stages.append(_stage(channels, config.channels, activation))
            channels, bins = config.channels, (bins + 1) // 2
        self.stages = nn.ModuleList(stages)
        self.sizes = tuple(sizes)
        self.project = nn.Linear(channels * bins, dim)
        self._initialize()

    def initial_state(self, batch_size: int, context: Context) -> SubsamplingState:
        """Zeros: the silence before the first frame."""
        weight = self.project.weight
        return SubsamplingState(tuple(weight.new_zeros(batch_size, 1, c, f) for c, f in self.sizes))

    def forward(
        self, x: Tensor, lengths: Tensor, state: SubsamplingState
    ) -> tuple[Tensor, Tensor, SubsamplingState]:
        """See `Streaming.__call__`. Returns ceil(lengths / factor)."""
        y = x[:, :, None, :]  # (B, T, C = 1, F)
        caches = []
        for stage, cache in zip(self.stages, state.caches, strict=True):
            if y.shape[1] % 2:
                y = nn.functional.pad(y, (0, 0, 0, 0, 0, 1))
            y = y.masked_fill(~valid_frames(lengths, y.shape[1])[:, :, None, None], 0.0)
            seen = torch.cat([cache.to(y.dtype), y], dim=1)
            caches.append(last_frames(seen, lengths, 1))
            y = stage(seen.transpose(1, 2)).transpose(1, 2)
            lengths = (lengths + 1) // 2
        return self.project(y.flatten(2)), lengths, SubsamplingState(tuple(caches))

    def _initialize(self) -> None:
        """Keep the variance of the features through the stages (He et al. 2015, eq. 10).

        Torch's default shrinks it at every stage until the biases drown it, and since nothing here normalises,
        the first thousands of steps would go into digging it out.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def _stage(channels_in: int, channels_out: int, activation: str) -> nn.Module:
    """(B, C, 1 + T, F) -> (B, C', T / 2, F / 2): time is padded by the cache, frequency by zeros."""
    if channels_in == 1:  # a depthwise convolution over one channel would be a single filter
        convolution: list[nn.Module] = [nn.Conv2d(1, channels_out, 3, stride=2, padding=(0, 1))]
    else:
        convolution = [
            nn.Conv2d(channels_in, channels_in, 3, stride=2, padding=(0, 1), groups=channels_in),
            nn.Conv2d(channels_in, channels_out, 1),
        ]
    return nn.Sequential(*convolution, make_activation(activation))
