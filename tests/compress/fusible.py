"""Models with BatchNorm for tests of fusing, and what they make of noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from leanformer.config import ModelConfig
from leanformer.config_toml import from_dict
from leanformer.layers.normalization import BatchNorm
from leanformer.layers.streaming import Context
from leanformer.model import NUM_BINS, SpeechModel

CONTEXT = Context(4, 8)
SMALL = {"ffn_dim": 12, "kernel_size": 3, "attention": {"heads": 2}}


def make(encoder: dict[str, Any] | None = None, **model: Any) -> SpeechModel:
    """A small model with BatchNorm, in evaluation mode; keys of `encoder` replace its own."""
    torch.manual_seed(0)
    base = {"model_dim": 8, "subsampling": {"channels": 3}, "blocks": [SMALL] * 2, "norm": "batch"}
    values = {"vocabulary_size": 11, "encoder": base | (encoder or {}), **model}
    made = SpeechModel(from_dict(ModelConfig, values, "test"))
    disturb(made)
    return made.eval()


@torch.no_grad()
def disturb(model: nn.Module) -> None:
    """Statistics and weights of norms as training could leave them."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.mean.normal_()
            module.variance.uniform_(0.2, 4.0)
            module.weight.normal_(1.0, 0.3)
            module.bias.normal_(0.0, 0.3)


@torch.no_grad()
def run(model: SpeechModel, *sizes: int) -> tuple[Tensor, list[Tensor]]:
    """Log-probabilities of two rows of noise in steps of so many frames, and the state after."""
    state, found = model.initial_state(2, CONTEXT), []
    generator = torch.Generator().manual_seed(1)
    for size in sizes:
        x = torch.randn(2, size, NUM_BINS, generator=generator)
        y, _, state = model(x, torch.tensor([size, size]), state)
        found.append(y)
    return torch.cat(found, dim=1), pytree.tree_leaves(state)


def norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, BatchNorm | nn.LayerNorm)]


def largest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.numel() else 0.0


def assert_same_function(fused: SpeechModel, model: SpeechModel) -> None:
    (found, state), (expected, other) = run(fused, 32, 16, 7), run(model, 32, 16, 7)
    scale = max(1.0, *(float(leaf.abs().max()) for leaf in other if leaf.numel()))
    assert largest(found, expected) < 1e-5 * scale
    for leaf, other_leaf in zip(state, other, strict=True):
        assert largest(leaf, other_leaf) < 1e-5 * scale
    assert norms(fused) == []
