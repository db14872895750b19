"""Position-wise feed-forward: linear, activation, linear."""

from torch import Tensor, nn

from leanformer.layers.dropout import LockedDropout
from leanformer.layers.normalization import make_activation
from leanformer.layers.streaming import Context


class FeedForward(nn.Module):
    """y = W2 act(W1 x), frame by frame: a streaming layer with no state.

    Shapes: x (B, T, D) -> y (B, T, D).
    """

    def __init__(self, dim: int, hidden_dim: int, activation: str = "swish", dropout: float = 0.0) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, hidden_dim)
        self.activation = make_activation(activation)
        self.dropout = LockedDropout(dropout)
        self.project = nn.Linear(hidden_dim, dim)

    def initial_state(self, batch_size: int, context: Context) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def forward(self, x: Tensor, lengths: Tensor, state: tuple[()]) -> tuple[Tensor, Tensor, tuple[()]]:
        """See `Streaming.__call__`."""
        return self.project(self.dropout(self.activation(self.expand(x)))), lengths, state
