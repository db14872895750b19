"""A convolution over the future: how layers that look back only come to see what follows.

Row convolution (Amodei et al. 2016, "Deep Speech 2", section 3.7), with a residual path around it: each channel of
frame t adds up frames t + 1 .. t + lookahead with weights of its own.
"""

import torch
from torch import Tensor, nn

from leanformer.layers.masks import valid_frames


class Lookahead(nn.Module):
    """Frames with `frames` more after them (B, T + frames, D) -> (B, T, D).

    It has no state: whoever calls it waits until the frames after the last one are there, or until there are none,
    as at the end of a stream. What lies beyond `lengths` counts as zeros.
    """

    def __init__(self, dim: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        # Starts as if there were no future, so that a pre-trained encoder below is first heard as it is.
        self.weights = nn.Parameter(torch.zeros(frames, dim)) if frames else None

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """`lengths` (B,) counts the valid frames of x, those of the future included."""
        size = x.shape[1] - self.frames
        x = x.masked_fill(~valid_frames(lengths, x.shape[1])[:, :, None], 0.0)
        y = x[:, :size]
        for ahead, weight in enumerate(() if self.weights is None else self.weights, 1):
            y = y + weight * x[:, ahead : ahead + size]
        return y
