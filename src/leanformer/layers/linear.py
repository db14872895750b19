"""A linear layer and the BatchNorm that may follow it (FusionFormer, arXiv 2210.17079)."""

from torch import Tensor, nn

from leanformer.layers.normalization import make_appended_norm


class Linear(nn.Linear):
    """norm(W x + b), where `norm` is a BatchNorm or None. Shapes: x (B, T, D) -> y (B, T, D')."""

    def __init__(self, dim: int, dim_out: int, norm: str = "layer") -> None:
        """Take `norm` by its name in EncoderConfig: only `batch` appends one."""
        super().__init__(dim, dim_out)
        self.norm = make_appended_norm(norm, dim_out)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        """Apply to every frame; `lengths` (B,) tell the norm which frames count."""
        y = super().forward(x)
        return y if self.norm is None else self.norm(y, lengths)
