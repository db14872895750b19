"""Masked frame reconstruction: the features of hidden frames, with an L1 loss.

The family of Mockingjay (Liu et al. 2020, arXiv 1910.12638), AALBERT (Chi et al. 2021, arXiv 2005.08575; shared
layers) and TERA (Liu et al. 2021, arXiv 2007.06028). The head is Mockingjay's: linear, GELU, LayerNorm, linear.

    L = mean over frames t and dimensions j of |head(h_t)_j - x_tj|
"""

from typing import Literal

from torch import Tensor, nn

from leanformer.layers.masks import valid_frames
from leanformer.pretrain.objective import Judged, ShownConfig, mean_over


class ReconstructionConfig(ShownConfig):
    """Masked frame reconstruction."""

    kind: Literal["reconstruction"] = "reconstruction"


class Reconstruction(nn.Module):
    """Predicts stacked features (B, T', target_dim) from encoder output (B, T', D); see `Objective`."""

    def __init__(self, dim: int, target_dim: int, config: ReconstructionConfig) -> None:
        super().__init__()
        self.config = config
        self.predict = nn.Sequential(
            nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim), nn.Linear(dim, target_dim)
        )

    def forward(self, encoded: Tensor, targets: Tensor, lengths: Tensor, hidden: Tensor) -> Judged:
        """See `Objective.__call__`."""
        difference = (self.predict(encoded).float() - targets).abs().mean(dim=-1)
        loss = mean_over(difference, hidden)
        if self.config.shown_weight > 0.0:
            shown = valid_frames(lengths, hidden.shape[1]) & ~hidden
            loss = loss + self.config.shown_weight * mean_over(difference, shown)
        return Judged(loss)
