"""The one encoder: subsampling, then layers."""

from typing import Any

from torch import Tensor, nn

from leanformer.config import EncoderConfig
from leanformer.encoder.stack import Layers
from leanformer.encoder.subsampling import Subsampling, SubsamplingState
from leanformer.layers.streaming import Context, state


@state
class EncoderState:
    """The subsampling's state and one block state per depth."""

    subsampling: SubsamplingState
    layers: tuple[Any, ...]


class Encoder(Layers):
    """Features (B, T, num_bins) -> (B, ceil(T / factor), model_dim)."""

    def __init__(
        self, config: EncoderConfig, num_bins: int, taps: dict[int, nn.Module] | None = None
    ) -> None:
        super().__init__(config, taps)
        self.subsampling = Subsampling(num_bins, config.model_dim, config.subsampling, config.activation)

    def initial_state(self, batch_size: int, context: Context) -> EncoderState:
        """State of `batch_size` streams; `context` counts encoder frames."""
        return EncoderState(
            self.subsampling.initial_state(batch_size, context), self.initial_states(batch_size, context)
        )

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
