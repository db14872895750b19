"""Position-wise feed-forward: linear, activation, linear."""

from torch import Tensor, nn

from leanformer.layers.dropout import LockedDropout
from leanformer.layers.linear import Linear
from leanformer.layers.normalization import make_activation
from leanformer.layers.streaming import Context


class FeedForward(nn.Module):
    """y = W2 act(W1 x), frame by frame: a streaming layer with no state.

    Shapes: x (B, T, D) -> y (B, T, D).
    """

    def __init__(
        self, dim: int, hidden_dim: int, activation: str = "swish", dropout: float = 0.0, norm: str = "layer"
    ) -> None:
        super().__init__()
        self.expand = Linear(dim, hidden_dim, norm)
        self.activation = make_activation(activation)
        self.dropout = LockedDropout(dropout)
        self.project = Linear(hidden_dim, dim, norm)

    def initial_state(self, batch_size: int, context: Context) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def forward(self, x: Tensor, lengths: Tensor, state: tuple[()]) -> tuple[Tensor, Tensor, tuple[()]]:
        """See `Streaming.__call__`."""
        y = self.dropout(self.activation(self.expand(x, lengths)))
        return self.project(y, lengths), lengths, state
