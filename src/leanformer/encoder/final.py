"""The projection at the end of an encoder whose blocks end without a norm (a choice of ours; docs/fusionformer.md)."""

from torch import Tensor, nn

from leanformer.config import EncoderConfig
from leanformer.errors import ConfigError
from leanformer.layers.linear import Linear

SHARED = "shared"


class FinalProjection(nn.Module):
    """A linear layer and its norm between the layers' output at an exit and whatever reads it, or nothing.

    Shapes: (B, T, D) -> (B, T, D). `EncoderConfig.final_projection` says whether all exits use one or each its own.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        keys = {"none": (), SHARED: (SHARED,), "own": tuple(map(str, config.exits))}
        dim, norm = config.model_dim, config.norm
        self.kind = config.final_projection or "none"
        self.exits = nn.ModuleDict({key: Linear(dim, dim, norm) for key in keys[self.kind]})

    def forward(self, x: Tensor, lengths: Tensor, depth: int) -> Tensor:
        """Project what layer `depth` (1 = the first) gave.

        Raises:
            ConfigError: exits have projections of their own, and there is none at `depth`.
        """
        if self.kind == "none":
            return x
        key = SHARED if self.kind == SHARED else str(depth)
        if key not in self.exits:
            raise ConfigError(
                f'there is no final projection at depth {depth}: with final_projection = "own" only the exits have '
                f'one, which are {", ".join(self.exits)}; name one of these, or train with final_projection = "shared"'
            )
        projected: Tensor = self.exits[key](x, lengths)
        return projected
