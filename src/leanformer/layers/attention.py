"""Chunked multi-head self-attention with a fixed-size cache and bounded rotary positions.

Within a step, frames are grouped into chunks; a frame sees its whole chunk and a fixed number of frames
before it. Keys and values of those frames are the cache, whose size never changes.
"""

import torch
from torch import Tensor, nn

from leanformer.layers.linear import Linear
from leanformer.layers.masks import attention_mask, valid_frames
from leanformer.layers.position import rotary_angles, rotate
from leanformer.layers.streaming import Context, last_frames, state

HIDDEN = float("-inf")
"""Added to a hidden score: its softmax weight is exactly 0. No row has only these, as a query sees itself."""


@state
class AttentionState:
    """A key/value cache of L = left_context frames.

    `keys`, `values` (B, L, D), unrotated; `filled` (B,) counts the real ones, which stand last;
    `chunk_size` is structure: the frames that see one another.
    """

    keys: Tensor
    values: Tensor
    filled: Tensor
    chunk_size: int


class SoftmaxAttention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V per head. Shapes: x (B, T, D) -> y (B, T, D)."""

    def __init__(self, dim: int, heads: int, norm: str = "layer", left_context: int = 0) -> None:
        """Look back `left_context` frames at most, or as far as the stream's context where that is 0."""
        super().__init__()
        self.left_context = left_context
        self.dim = dim
        self.heads = heads
        self.head_dim = dim // heads
        self.query_key_value = Linear(dim, 3 * dim, norm)
        self.project = Linear(dim, dim, norm)

    def initial_state(self, batch_size: int, context: Context) -> AttentionState:
        """An empty cache of `context.left_context` frames, or of the layer's own if that is less."""
        left = min(context.left_context, self.left_context or context.left_context)
        weight = self.project.weight
        cache = weight.new_zeros(batch_size, left, self.dim)
        filled = torch.zeros(batch_size, dtype=torch.int64, device=weight.device)
        return AttentionState(cache, cache, filled, context.chunk_size)

    def forward(
        self, x: Tensor, lengths: Tensor, state: AttentionState
    ) -> tuple[Tensor, Tensor, AttentionState]:
        """See `Streaming.__call__`. Mid-stream, a step holds a multiple of `state.chunk_size` frames."""
        size, left = x.shape[1], state.keys.shape[1]
        # Padding may hold anything, and a weight of 0 times NaN is NaN.
        x = x.masked_fill(~valid_frames(lengths, size)[:, :, None], 0.0)
        query, key, value = self.query_key_value(x, lengths).chunk(3, dim=-1)
        keys = torch.cat([state.keys.to(key.dtype), key], dim=1)  # (B, L + T, D)
        values = torch.cat([state.values.to(value.dtype), value], dim=1)

        cos, sin = rotary_angles(left + size, self.head_dim, x.device)
        mask = attention_mask(size, state.chunk_size, left, state.filled, lengths)
        query = rotate(self._split(query), cos[left:], sin[left:])  # (B, H, T, head_dim)
        query = query * self.head_dim**-0.5
        scores = query @ rotate(self._split(keys), cos, sin).transpose(2, 3)  # (B, H, T, L + T)
        # Written out because, on CPU, the backward pass of torch's fused attention takes twice as long.
        hidden = torch.zeros(mask.shape, dtype=scores.dtype, device=x.device).masked_fill(~mask, HIDDEN)
        weights = (scores + hidden[:, None]).softmax(dim=-1)
        y = self.project((weights @ self._split(values)).transpose(1, 2).flatten(2), lengths)
        following = AttentionState(
            last_frames(keys, lengths, left),
            last_frames(values, lengths, left),
            (state.filled + lengths).clamp(max=left),
            state.chunk_size,
        )
        return y, lengths, following

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, head_dim)."""
        return torch.unflatten(x, -1, (self.heads, self.head_dim)).transpose(1, 2)
