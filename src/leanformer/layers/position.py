"""Rotary positions (Su et al. 2021, RoFormer, eq. 34), bounded: by place in the window, not by absolute time.

Only differences of positions matter to the scores, so keys are cached unrotated and turned by their place
in the current window. Angles never grow with the length of the stream.
"""

import torch
from torch import Tensor

BASE = 10_000.0


def rotary_angles(size: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine for positions 0..size-1, each (size, head_dim / 2), float32."""
    rates = BASE ** (-torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)
    angles = torch.arange(size, device=device, dtype=torch.float32)[:, None] * rates
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + head_dim / 2) of x (B, H, T, head_dim) by the angles of T positions."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
