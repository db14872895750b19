"""The Conformer's convolution module (Gulati et al. 2020, section 2.2), causal.

pointwise D -> 2D, GLU, depthwise convolution over the past, norm, activation, pointwise D -> D.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanformer.layers.linear import Linear
from leanformer.layers.normalization import BatchNorm, make_activation, make_norm
from leanformer.layers.streaming import Context, last_frames, state


@state
class ConvolutionState:
    """`cache` (B, kernel_size - 1, D): the last inputs of the depthwise convolution."""

    cache: Tensor


class Convolution(nn.Module):
    """Causal convolution module. Shapes: x (B, T, D) -> y (B, T, D); sees kernel_size - 1 frames back."""

    def __init__(
        self, dim: int, kernel_size: int, activation: str = "swish", gate: str = "glu", norm: str = "layer"
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.gated = gate == "glu"
        self.dim = inner = 2 * dim if gate == "wide" else dim
        self.expand = Linear(dim, inner if gate == "none" else 2 * dim, norm)
        self.norm = make_norm("batch_in_place" if norm == "batch" else norm, inner)
        # A BatchNorm would take a bias out with the mean.
        bias = not isinstance(self.norm, BatchNorm)
        self.depthwise = nn.Conv1d(inner, inner, kernel_size, groups=inner, bias=bias)
        self.activation = make_activation(activation)
        self.project = Linear(inner, dim, norm)

    def initial_state(self, batch_size: int, context: Context) -> ConvolutionState:
        """Zeros: the silence before the first frame."""
        weight = self.depthwise.weight
        return ConvolutionState(weight.new_zeros(batch_size, self.kernel_size - 1, self.dim))

    def forward(
        self, x: Tensor, lengths: Tensor, state: ConvolutionState
    ) -> tuple[Tensor, Tensor, ConvolutionState]:
        """See `Streaming.__call__`. Padding stands to the right, so no valid frame ever sees it."""
        y = self.expand(x, lengths)
        y = F.glu(y, dim=-1) if self.gated else self.activation(y)
        seen = torch.cat([state.cache.to(y.dtype), y], dim=1)  # (B, K - 1 + T, D)
        y = self.depthwise(seen.transpose(1, 2)).transpose(1, 2)  # (B, T, D)
        y = self.project(self.activation(self.norm(y, lengths)), lengths)
        return y, lengths, ConvolutionState(last_frames(seen, lengths, self.kernel_size - 1))
