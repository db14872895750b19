"""BEST-RQ: the codes of hidden frames, from a quantiser that is random and stays so.

Chiu et al. 2022, "Self-supervised learning with random-projection quantizer for speech recognition", arXiv 2202.01855.
The code of a stacked, normalised feature vector x is, by the paper's equation 1,

    y = argmin_i || c_i / ||c_i||  -  A x / ||A x|| ||

with A from Xavier's initialisation and the codebook c from a standard normal distribution; neither is ever trained.
Distances of unit vectors are ranked by their dot product, which is what is computed. The loss is the cross-entropy
of a linear layer on the encoder's output.
"""

from typing import Literal

import torch
from pydantic import NonNegativeInt
from torch import Tensor, nn
from torch.nn import functional as F

from leanformer.config_types import PositiveInt
from leanformer.layers.masks import valid_frames
from leanformer.pretrain.objective import Judged, ShownConfig, mean_over


class BestRQConfig(ShownConfig):
    """The quantiser's sizes. The paper has 8192 codes of 16; fewer are cheaper to predict."""

    kind: Literal["best_rq"] = "best_rq"
    codes: PositiveInt = 1024
    code_dim: PositiveInt = 16
    seed: NonNegativeInt = 0
    """Of projection and codebook, which are stored in the model."""


class Quantizer(nn.Module):
    """Feature vectors (..., dim) -> codes (...,) int64. Its buffers are part of the model, and never trained."""

    projection: Tensor
    codebook: Tensor

    def __init__(self, dim: int, config: BestRQConfig) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(config.seed)
        projection = nn.init.xavier_uniform_(torch.empty(dim, config.code_dim), generator=generator)
        codebook = torch.randn(config.codes, config.code_dim, generator=generator)
        self.register_buffer("projection", projection)
        self.register_buffer("codebook", F.normalize(codebook, dim=-1))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """In float32 even under autocast: in bfloat16, near codes would fall together."""
        with torch.autocast(x.device.type, enabled=False):
            return (x.float() @ self.projection @ self.codebook.T).argmax(dim=-1)


class BestRQ(nn.Module):
    """Predicts codes of stacked features (B, T', target_dim) from encoder output (B, T', D); see `Objective`."""

    def __init__(self, dim: int, target_dim: int, config: BestRQConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = Quantizer(target_dim, config)
        self.predict = nn.Linear(dim, config.codes)

    def forward(self, encoded: Tensor, targets: Tensor, lengths: Tensor, hidden: Tensor) -> Judged:
        """See `Objective.__call__`. Only frames that count get logits, which are the larger part of its cost."""
        codes = self.quantizer(targets)
        valid = valid_frames(lengths, codes.shape[1])
        counts = torch.bincount(codes[valid], minlength=self.config.codes)
        loss, accuracy = self._predicted(encoded, codes, hidden)
        figures = {"masked_accuracy": accuracy, **codebook_use(counts)}
        if self.config.shown_weight > 0.0:
            shown, figures["shown_accuracy"] = self._predicted(encoded, codes, valid & ~hidden)
            loss = loss + self.config.shown_weight * shown
        return Judged(loss, figures, counts)

    def _predicted(self, encoded: Tensor, codes: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy at the chosen frames."""
        logits = self.predict(encoded[chosen]).float()
        losses = F.cross_entropy(logits, codes[chosen], reduction="none")
        right = logits.argmax(dim=-1) == codes[chosen]
        every = torch.ones_like(right)
        return mean_over(losses, every), mean_over(right, every)


def codebook_use(counts: Tensor) -> dict[str, Tensor]:
    """How much of a codebook is in use, from how often (N,) each code occurs.

    `codes_used` is the share that occurs at all, `perplexity` the exponential of the entropy: with k codes equally
    often it is k.
    """
    shares = counts / counts.sum().clamp(min=1)
    return {
        "codes_used": (counts > 0).float().mean(),
        "perplexity": torch.special.entr(shares).sum().exp(),
    }
