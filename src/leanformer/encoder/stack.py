"""Blocks on top of one another by `layer_map`; weights per block, state per depth."""

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from leanformer.config import EncoderConfig
from leanformer.encoder.block import Block
from leanformer.encoder.final import FinalProjection
from leanformer.encoder.sharing import block_index, make_blocks
from leanformer.layers.streaming import Context


class Layers(nn.Module):
    """The layers of an encoder or of a second pass.

    `taps` are optional modules by depth, given at construction: each maps the layer output (B, T', D) to the
    next layer's input of the same shape. A self-conditioning head is one; the layers need not know.
    """

    def __init__(self, config: EncoderConfig, taps: dict[int, nn.Module] | None = None) -> None:
        super().__init__()
        self.config = config
        self.blocks = make_blocks(config)
        self.taps = nn.ModuleDict({str(depth): tap for depth, tap in (taps or {}).items()})
        self.final = FinalProjection(config)

    def initial_states(self, batch_size: int, context: Context) -> tuple[Any, ...]:
        """One block state per depth; `context` counts frames of these layers."""
        return tuple(
            self.block_at(depth).initial_state(batch_size, context) for depth in range(self.config.depth)
        )

    def run_layers(
        self,
        x: Tensor,
        lengths: Tensor,
        states: tuple[Any, ...],
        start: int = 0,
        also: Collection[int] = (),
    ) -> tuple[dict[int, Tensor], tuple[Any, ...]]:
        """Run as many layers as there are `states`, from depth `start` (0 = the first) on, on x (B, T', D).

        Returns the outputs at exits, taps, depths that `also` names and the last layer run, by depth, and the states.
        """
        outputs: dict[int, Tensor] = {}
        following = []
        last = start + len(states)
        for depth, before in enumerate(states, start + 1):
            x, _, after = self.block_at(depth - 1)(x, lengths, before)
            following.append(after)
            tapped = str(depth) in self.taps
            if tapped or depth == last or depth in self.config.exits or depth in also:
                outputs[depth] = x
            if tapped and depth < last:
                x = self.taps[str(depth)](x)
        return outputs, tuple(following)

    def block_at(self, depth: int) -> Block:
        """The block that runs at a depth (0 = the first layer)."""
        return self.blocks[block_index(self.config, depth)]  # type: ignore[return-value]
