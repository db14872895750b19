"""Linear attention by random features, run as a recurrence with constant state (Choromanski et al. 2021).

For each head, with features phi(x) = relu(W x / sqrt(m)) + 1e-3 (the generalised attention of that paper's
section 2.2), frame t of

    S_t = a S_(t-1) + phi(k_t) v_t^T        z_t = a z_(t-1) + phi(k_t)        o_t = S_t^T phi(q_t) / z_t^T phi(q_t)

is a weighted mean of the values so far. The decay a is learned for each head: it lets old frames fade, bounds
the sums however long the stream, and is all that tells near from far, as rotary positions do not apply here.
Blocks of frames are computed at once: quadratic inside a block, through S and z from block to block.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanformer.layers.linear import Linear
from leanformer.layers.masks import valid_frames
from leanformer.layers.streaming import Context, state

EPSILON = 1e-3
"""Added to every feature: a frame sees itself at least, so no denominator is below features * EPSILON^2."""
BLOCK = 64
"""Tokens computed at once; a choice of cost, which changes results by rounding only."""
LONGEST_MEMORY = 2.0**14
"""Frames after which any head has forgotten all but 1 / e, whatever it learns."""
FIRST_MEMORY, LAST_MEMORY = 8.0, 512.0
"""The memory of the first and the last head before training; those between are spaced geometrically."""


@state
class PerformerState:
    """`sums` (B, H, m, head_dim + 1), float32 or finer: S, with z as its last column."""

    sums: Tensor


class Performer(nn.Module):
    """Causal linear attention. Shapes: x (B, T, D) -> y (B, T, D); a frame sees itself and all before it.

    Causal by frames, it depends on neither chunk size nor left context. Inside a folded layer, `group`
    sub-tokens make a frame: they see one another, and time passes for all of them at once.
    """

    directions: Tensor

    def __init__(
        self, dim: int, heads: int, features: int, seed: int = 0, norm: str = "layer", group: int = 1
    ) -> None:
        """Draw `features` random directions for each head by `seed`; they are stored with the weights."""
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        self.group = group
        self.query_key_value = Linear(dim, 3 * dim, norm)
        self.project = Linear(dim, dim, norm)
        self.register_buffer("directions", random_directions(heads, features, self.head_dim, seed))
        self.forgetting = nn.Parameter(_initial_forgetting(heads))

    def initial_state(self, batch_size: int, context: Context) -> PerformerState:
        """Empty sums; their size does not depend on the context."""
        heads, features, head_dim = self.directions.shape
        shape = batch_size, heads, features, head_dim + 1
        # Sums over many frames need float32, whatever the weights are.
        dtype = torch.promote_types(self.directions.dtype, torch.float32)
        return PerformerState(torch.zeros(shape, dtype=dtype, device=self.directions.device))

    def forward(
        self, x: Tensor, lengths: Tensor, state: PerformerState
    ) -> tuple[Tensor, Tensor, PerformerState]:
        """See `Streaming.__call__`. A step may hold any number of whole frames."""
        batch, size, dim = x.shape
        # Padding may hold anything, and a weight of 0 times NaN is NaN.
        x = x.masked_fill(~valid_frames(lengths, size)[:, :, None], 0.0)
        projected = self.query_key_value(x, lengths)
        with _full_precision(x.device):
            query, key, value = self._in_blocks(projected.to(state.sums.dtype))
            decay = Decay(F.softplus(self.forgetting.to(value.dtype)) + 1.0 / LONGEST_MEMORY)
            begins = _begins(key, value, state.sums, decay, self.group)
            y = _attend(query, key, value, begins, decay, self.group)  # (B, N, H, C, head_dim)
            y = y.transpose(2, 3).reshape(batch, -1, dim)[:, :size]
            following = PerformerState(_remember(key, value, state.sums, decay, self.group, lengths))
        return self.project(y.to(projected.dtype), lengths), lengths, following

    def _in_blocks(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, 3 D) -> features of queries and keys (B, N, H, C, m) and values (B, N, H, C, head_dim + 1).

        T is cut into N blocks of C, the last one filled up with zeros.
        """
        batch, size, _ = projected.shape
        count, block = 1, size
        # In a graph, whose steps are of any size, a step is one chunk, and one block.
        if not isinstance(size, torch.SymInt) and size > BLOCK:
            count, block = -(-size // BLOCK), BLOCK
            projected = F.pad(projected, (0, 0, 0, count * block - size))
        split = projected.reshape(batch, count, block, 3, self.heads, self.head_dim).permute(3, 0, 1, 4, 2, 5)
        directions = self.directions.to(split.dtype).transpose(1, 2)
        query, key = (F.relu(split[:2] @ directions) + EPSILON).unbind(0)
        return query, key, F.pad(split[2], (0, 1), value=1.0)  # the ones add up to the denominators


class Decay:
    """decay^distance for each head, from rates (H,), which are -log(decay) > 0."""

    def __init__(self, rates: Tensor) -> None:
        self._exponents = -rates[:, None, None]

    def __call__(self, frames: Tensor) -> Tensor:
        """(..., R, C) distances in frames, none negative -> (..., H, R, C)."""
        return torch.exp(self._exponents * frames.unsqueeze(-3))

    def of_past(self, frames: Tensor) -> Tensor:
        """The same with 0 where a distance is negative, which is the future.

        Such a distance is clamped before exp: hiding it afterwards would come too late, as inf * 0 is NaN.
        """
        return self(frames.clamp(min=0)).masked_fill((frames < 0).unsqueeze(-3), 0.0)


def _begins(key: Tensor, value: Tensor, sums: Tensor, decay: Decay, group: int) -> Tensor:
    """The sums before each block's first frame, (B, N, H, m, head_dim + 1), from those before the step."""
    count, block = key.shape[1], key.shape[3]
    if count == 1:
        return sums[:, None]
    to_end = _frames(block, group, key.device).flip(0)
    leaves = (key.transpose(3, 4) * decay(to_end[None])) @ value  # what each block adds by its own end
    # A block begins with what came into the step and with what the blocks before it left, faded since.
    parts = torch.cat([sums[:, None], leaves], dim=1).transpose(1, 2).flatten(3)  # (B, H, 1 + N, ...)
    index = torch.arange(count + 1, device=key.device)
    since = (index[:-1, None] - index) * (block // group)
    return torch.unflatten(decay.of_past(since) @ parts, -1, sums.shape[2:]).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, begins: Tensor, decay: Decay, group: int) -> Tensor:
    """What each token reads, (B, N, H, C, head_dim): from its own block, and from the sums before it."""
    frames = _frames(query.shape[3], group, query.device)
    weights = (query @ key.transpose(3, 4)) * decay.of_past(frames[:, None] - frames)
    both = weights @ value + (query * decay(frames[:, None] + 1)) @ begins
    return both[..., :-1] / both[..., -1:]


def _remember(key: Tensor, value: Tensor, sums: Tensor, decay: Decay, group: int, lengths: Tensor) -> Tensor:
    """The sums after each row's last valid frame, (B, H, m, head_dim + 1)."""
    count, block = key.shape[1], key.shape[3]
    rows = lengths if group == 1 else torch.div(lengths, group, rounding_mode="trunc")
    to_end = rows[:, None] - 1 - _frames(count * block, group, key.device)  # negative in padding
    faded = key.transpose(3, 4) * decay.of_past(to_end.reshape(-1, count, 1, block))
    added = faded @ value  # (B, N, H, m, head_dim + 1)
    return sums * decay(rows[:, None, None]) + (added[:, 0] if count == 1 else added.sum(dim=1))


def _frames(tokens: int, group: int, device: torch.device) -> Tensor:
    """(tokens,), the frame that each token is of."""
    index = torch.arange(tokens, device=device)
    return index if group == 1 else torch.div(index, group, rounding_mode="trunc")


def random_directions(heads: int, features: int, head_dim: int, seed: int) -> Tensor:
    """W / sqrt(m) for each head, (H, m, head_dim), float32.

    Rows are orthogonal as far as they can be, in blocks of head_dim, and as long as Gaussian vectors are
    (Choromanski et al. 2021, section 2.4).
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = -(-features // head_dim)
    gaussian = torch.randn(heads, blocks, head_dim, head_dim, generator=generator)
    lengths = torch.randn(heads, features, head_dim, generator=generator).norm(dim=-1, keepdim=True)
    orthogonal, upper = torch.linalg.qr(gaussian)
    # Without the signs, QR's choice of them would favour some directions (Mezzadri 2007).
    orthogonal = orthogonal * upper.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    directions: Tensor = orthogonal.flatten(1, 2)[:, :features] * lengths / features**0.5
    return directions


def _initial_forgetting(heads: int) -> Tensor:
    """(H,), such that the heads' memories span FIRST_MEMORY to LAST_MEMORY frames."""
    steps = torch.linspace(0.0, 1.0, heads) if heads > 1 else torch.tensor([0.5])
    memory = FIRST_MEMORY * (LAST_MEMORY / FIRST_MEMORY) ** steps
    return torch.log(torch.expm1(1.0 / memory - 1.0 / LONGEST_MEMORY))


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """No autocast where there is one, as it would round the sums."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
