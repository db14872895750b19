from typing import Literal

import pytest
import torch
from torch import nn

from leanformer.config import SubsamplingConfig
from leanformer.encoder.subsampling import Subsampling
from leanformer.layers.streaming import Context

ANY = Context(4, 8)


@pytest.mark.parametrize("factor", [4, 8])
@pytest.mark.parametrize("bins", [1, 7, 80])
def test_every_started_group_of_frames_gives_one(factor: Literal[4, 8], bins: int) -> None:
    layer = Subsampling(bins, 5, SubsamplingConfig(factor=factor, channels=2), "swish")
    for size in range(1, 2 * factor + 2):
        lengths = torch.tensor([size, 0, size // 2])
        y, out_lengths, _ = layer(torch.randn(3, size, bins), lengths, layer.initial_state(3, ANY))
        assert out_lengths.tolist() == [-(-n // factor) for n in lengths.tolist()]
        assert y.shape == (3, -(-size // factor), 5)


@torch.no_grad()
def test_each_stage_reads_its_frame_and_both_neighbours() -> None:
    """Against torch's own padding of one frame on the left, stage by stage."""
    layer = Subsampling(6, 4, SubsamplingConfig(factor=8, channels=3), "relu")
    x = torch.randn(1, 16, 6)
    y, _, _ = layer(x, torch.tensor([16]), layer.initial_state(1, ANY))
    expected = x[:, None]  # (B, C, T, F)
    for stage in layer.stages:
        expected = stage(nn.functional.pad(expected, (0, 0, 1, 0)))
    assert torch.allclose(y, layer.project(expected.transpose(1, 2).flatten(2)), atol=1e-5)


def test_is_depthwise_separable_after_the_first_stage() -> None:
    layer = Subsampling(80, 16, SubsamplingConfig(factor=8, channels=32), "swish")
    first, *others = ([m for m in stage.modules() if isinstance(m, nn.Conv2d)] for stage in layer.stages)
    assert [c.groups for c in first] == [1]
    assert [[c.groups for c in stage] for stage in others] == [[32, 1]] * 2
