"""A small model of all kinds of layers, its counts, and its graphs."""

from __future__ import annotations

import pytest

from leanformer.config import (
    BlockConfig,
    EncoderConfig,
    FoldConfig,
    ModelConfig,
    PerformerAttentionConfig,
    SoftmaxAttentionConfig,
    SubsamplingConfig,
)
from leanformer.profile.count import Counts, count
from leanformer.profile.graphs import export_random

CHUNK_MS, LEFT = 320, 6


@pytest.fixture(scope="session")
def mixed() -> ModelConfig:
    """Shared, folded, softmax and linear attention, convolution only, BatchNorm to be fused."""
    wide = BlockConfig(
        ffn_dim=24, kernel_size=5, attention=SoftmaxAttentionConfig(heads=2), fold=FoldConfig(factor=2)
    )
    local = BlockConfig(order=("ffn", "conv", "ffn"), ffn_dim=20, kernel_size=4)
    recurrent = BlockConfig(
        order=("ffn", "conv", "attention"),
        ffn_dim=12,
        kernel_size=3,
        attention=PerformerAttentionConfig(heads=2, features=6),
    )
    encoder = EncoderConfig(
        model_dim=16,
        subsampling=SubsamplingConfig(channels=4),
        blocks=(local, wide, recurrent),
        layer_map=(0, 0, 1, 1, 2),
        norm="batch",
        activation="relu",
        conv_gate="none",
    )
    return ModelConfig(vocabulary_size=11, encoder=encoder)


@pytest.fixture(scope="session")
def counts(mixed: ModelConfig) -> Counts:
    return count(mixed, CHUNK_MS, LEFT)


@pytest.fixture(scope="session")
def graphs(mixed: ModelConfig) -> dict[str, bytes]:
    """The one export of these tests."""
    from leanformer.compress.fuse import fused_config

    return export_random(fused_config(mixed), CHUNK_MS, LEFT)
