"""Linear attention by random features, run as a recurrence with constant state."""

from torch import nn


class Performer(nn.Module):
    """See PerformerAttentionConfig."""

    def __init__(self, dim: int, heads: int, features: int, seed: int = 0, norm: str = "layer") -> None:
        super().__init__()
        raise NotImplementedError
