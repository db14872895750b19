"""A linear layer and the BatchNorm that may follow it (FusionFormer, arXiv 2210.17079)."""

from torch import Tensor, nn

from leanformer.layers.normalization import make_appended_norm


class Linear(nn.Linear):
    """norm(W x + b), where `norm` is a BatchNorm or None. Shapes: x (B, T, D) -> y (B, T, D').

    There is no b where a norm follows: it would take b out with the mean. Its own bias stands in for it, and
    `compress.fuse` makes a b of it.
    """

    def __init__(self, dim: int, dim_out: int, norm: str = "layer") -> None:
        """Take `norm` by its name in EncoderConfig: only `batch` appends one."""
        appended = make_appended_norm(norm, dim_out)
        super().__init__(dim, dim_out, bias=appended is None)
        self.norm = appended

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        """Apply to every frame; `lengths` (B,) tell the norm which frames count."""
        y = super().forward(x)
        return y if self.norm is None else self.norm(y, lengths)
