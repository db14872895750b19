"""The choices that a design is drawn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from leanformer.config import BlockConfig, EncoderConfig, ModelConfig
from leanformer.preset_shapes import PERFORMER_FEATURES

DIMS = (64, 96, 128, 160, 192, 256, 320, 384, 512)
DEPTHS = (4, 6, 8, 10, 12, 16)
FFN_RATIOS = (2, 4)
LOCAL_THIRDS = (0, 1, 2)
ATTENTIONS = ("softmax", "performer")
FOLDS = (1, 2, 4)
RUNS = (1, 2, 4)
NORMS = ("layer", "batch")


@dataclass(frozen=True)
class Design:
    """One point of the space.

    The lower `local_thirds` thirds of the layers only convolve. Every block runs `runs` times in a row. With
    `norm = "batch"` come ReLU and no gate, as FusionFormer has them; with "layer", Swish and GLU.
    """

    model_dim: int
    depth: int
    ffn_ratio: int
    local_thirds: int
    attention: str
    fold: int
    runs: int
    norm: str

    def __str__(self) -> str:
        parts = [f"{self.depth} x {self.model_dim}, ffn x{self.ffn_ratio}", self.attention]
        if self.local_thirds:
            parts.append(f"lower {self.local_layers} convolve only")
        if self.fold > 1:
            parts.append(f"folded by {self.fold}")
        if self.runs > 1:
            parts.append(f"each block {self.runs} times")
        return ", ".join([*parts, "BatchNorm" if self.norm == "batch" else "LayerNorm"])

    @property
    def local_layers(self) -> int:
        """Layers that only convolve: whole runs of a block."""
        blocks = self.depth // self.runs
        return self.runs * (blocks * self.local_thirds // 3)

    def block(self, local: bool) -> BlockConfig:
        """The block of a layer that only convolves, or of one that attends as well."""
        heads = self.model_dim // (32 if self.model_dim < 256 else 64)
        attention = {"kind": self.attention, "heads": heads}
        if self.attention == "performer":
            attention["features"] = PERFORMER_FEATURES
        attends = ("ffn", "attention", "conv", "ffn")
        return BlockConfig.model_validate(
            {
                "order": ("ffn", "conv", "ffn") if local else attends,
                "ffn_dim": self.ffn_ratio * self.model_dim,
                "attention": attention,
                # Heads are kept, as few small ones would not divide by the factor.
                "fold": {"factor": self.fold, "keep": "heads"},
            }
        )

    def config(self, vocabulary_size: int) -> ModelConfig:
        """The model that this stands for."""
        blocks = self.depth // self.runs
        local = self.local_layers // self.runs
        batch = self.norm == "batch"
        return ModelConfig(
            vocabulary_size=vocabulary_size,
            encoder=EncoderConfig(
                model_dim=self.model_dim,
                blocks=(self.block(True),) * local + (self.block(False),) * (blocks - local),
                layer_map=tuple(layer // self.runs for layer in range(self.depth)),
                norm="batch" if batch else "layer",
                activation="relu" if batch else "swish",
                conv_gate="none" if batch else "glu",
            ),
        )


def designs() -> Iterator[Design]:
    """The whole space, without what cannot be built or only repeats another point."""
    for values in product(DIMS, DEPTHS, FFN_RATIOS, LOCAL_THIRDS, ATTENTIONS, FOLDS, RUNS, NORMS):
        design = Design(*values)
        whole = design.depth % design.runs == 0 and design.depth > design.runs
        repeats = design.local_thirds > 0 and design.local_layers == 0
        if whole and not repeats:
            yield design
