"""A small model of all kinds of layers, its counts, and its graphs."""

from __future__ import annotations

import pytest

from leanformer.compress.fuse import fused_config
from leanformer.config import (
    BlockConfig,
    EncoderConfig,
    FoldConfig,
    ModelConfig,
    PerformerAttentionConfig,
    SecondPassConfig,
    SoftmaxAttentionConfig,
    SubsamplingConfig,
)
from leanformer.profile.count import Counts, count, count_second, counted_model
from leanformer.profile.graphs import export_random, export_second

CHUNK_MS, LEFT = 320, 6
SECOND_CHUNK, LOOKAHEAD = 4, 3


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
    """The one export of a first pass in these tests."""
    return export_random(fused_config(mixed), CHUNK_MS, LEFT)


@pytest.fixture(scope="session")
def cascade(mixed: ModelConfig) -> ModelConfig:
    """The same with a second pass, folded and shared."""
    block = BlockConfig(
        ffn_dim=24, kernel_size=5, attention=SoftmaxAttentionConfig(heads=2), fold=FoldConfig(factor=2)
    )
    second = SecondPassConfig(
        blocks=(block,), layer_map=(0, 0), chunk_size=SECOND_CHUNK, lookahead=LOOKAHEAD, left_context=5
    )
    return mixed.model_copy(update={"second": second})


@pytest.fixture(scope="session")
def second_counts(cascade: ModelConfig) -> Counts:
    return count_second(counted_model(cascade))


@pytest.fixture(scope="session")
def second_graphs(cascade: ModelConfig) -> dict[str, bytes]:
    """The other export: of the second pass."""
    return export_second(fused_config(cascade))
