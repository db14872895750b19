"""All mask code: frame positions in, booleans out. True means: may be seen."""

import torch
from torch import Tensor


def valid_frames(lengths: Tensor, size: int) -> Tensor:
    """(B,) lengths -> (B, size), True on the frames before each row's length."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def attention_mask(size: int, chunk_size: int, left_context: int, filled: Tensor, lengths: Tensor) -> Tensor:
    """Which keys each query may see in chunked attention with a cache.

    Keys are `left_context` cached frames followed by the step's `size` frames. A query sees the chunk that it
    stands in and the `left_context` frames before that chunk, as far as they hold real frames.

    Args:
        size: T, frames in this step (queries).
        chunk_size: frames per chunk; the step starts at a chunk boundary.
        left_context: L, frames in the cache.
        filled: (B,), how many cached frames are real (the last ones).
        lengths: (B,), how many of the step's frames are real.

    Returns:
        (B, T, L + T). Every query sees at least itself, so that no softmax is empty; what padded queries
        compute is never read.
    """
    device = lengths.device
    query = torch.arange(size, device=device)[:, None]
    key = torch.arange(left_context + size, device=device)[None, :]
    chunk_start = query // chunk_size * chunk_size
    in_reach = (key >= chunk_start) & (key < chunk_start + left_context + chunk_size)  # (T, L + T)
    real = (key >= left_context - filled[:, None]) & (key < left_context + lengths[:, None])  # (B, L + T)
    itself = key == query + left_context
    return (in_reach & real[:, None, :]) | itself
