"""The one encoder: subsampling, then blocks by `layer_map`; weights per block, state per depth."""

from typing import Any

from torch import Tensor, nn

from leanformer.config import EncoderConfig
from leanformer.encoder.block import Block
from leanformer.encoder.final import FinalProjection
from leanformer.encoder.sharing import block_index, make_blocks
from leanformer.encoder.subsampling import Subsampling, SubsamplingState
from leanformer.layers.streaming import Context, state


@state
class EncoderState:
    """The subsampling's state and one block state per depth."""

    subsampling: SubsamplingState
    layers: tuple[Any, ...]


class Encoder(nn.Module):
    """Features (B, T, num_bins) -> (B, ceil(T / factor), model_dim).

    `taps` are optional modules by depth, given at construction: each maps the layer output (B, T', D) to the
    next layer's input of the same shape. A self-conditioning head is one; the encoder needs not know.
    """

    def __init__(
        self, config: EncoderConfig, num_bins: int, taps: dict[int, nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.subsampling = Subsampling(num_bins, config.model_dim, config.subsampling, config.activation)
        self.blocks = make_blocks(config)
        self.taps = nn.ModuleDict({str(depth): tap for depth, tap in (taps or {}).items()})
        self.final = FinalProjection(config)

    def initial_state(self, batch_size: int, context: Context) -> EncoderState:
        """State of `batch_size` streams; `context` counts encoder frames."""
        layers = (
            self.block_at(depth).initial_state(batch_size, context) for depth in range(self.config.depth)
        )
        return EncoderState(self.subsampling.initial_state(batch_size, context), tuple(layers))

    def forward(self, x: Tensor, lengths: Tensor, state: EncoderState) -> tuple[Tensor, Tensor, EncoderState]:
        """See `Streaming.__call__`. The output at full depth."""
        outputs, lengths, state = self.forward_exits(x, lengths, state)
        return self.final(outputs[self.config.depth], lengths, self.config.depth), lengths, state

    def forward_exits(
        self, x: Tensor, lengths: Tensor, state: EncoderState
    ) -> tuple[dict[int, Tensor], Tensor, EncoderState]:
        """As `forward`, with what the layers at exits, at taps and the last one run give, by depth, each (B, T', D).

        `self.final` makes the encoder's output of any of them. As many layers run as `state` has; only with all
        of them may a stream go on.
        """
        x, lengths, subsampling = self.subsampling(x, lengths, state.subsampling)
        outputs, layers = self.run_layers(x, lengths, state.layers)
        return outputs, lengths, EncoderState(subsampling, layers)

    def run_layers(
        self, x: Tensor, lengths: Tensor, states: tuple[Any, ...], start: int = 0
    ) -> tuple[dict[int, Tensor], tuple[Any, ...]]:
        """Run as many layers as there are `states`, from depth `start` (0 = the first) on, on x (B, T', D).

        Returns the outputs at exits, taps and the last layer run, by depth, and the states.
        """
        outputs: dict[int, Tensor] = {}
        following = []
        last = start + len(states)
        for depth, before in enumerate(states, start + 1):
            x, _, after = self.block_at(depth - 1)(x, lengths, before)
            following.append(after)
            tapped = str(depth) in self.taps
            if tapped or depth == last or depth in self.config.exits:
                outputs[depth] = x
            if tapped and depth < last:
                x = self.taps[str(depth)](x)
        return outputs, tuple(following)

    def block_at(self, depth: int) -> Block:
        """The block that runs at a depth (0 = the first layer)."""
        return self.blocks[block_index(self.config, depth)]  # type: ignore[return-value]
