"""Normalisation over each utterance, and frames stacked to the encoder's rate."""

from __future__ import annotations

import torch

from leanformer.pretrain.targets import normalize_utterances, stack_frames


def test_each_utterance_has_mean_zero_and_variance_one_and_padding_no_part() -> None:
    features = torch.randn(2, 50, 80) * 3.0 + torch.arange(80) - 5.0
    lengths = torch.tensor([50, 20])
    spoilt = features.clone()
    spoilt[1, 20:] = float("nan")
    found = normalize_utterances(spoilt, lengths)
    for row, count in enumerate((50, 20)):
        torch.testing.assert_close(found[row, :count].mean(dim=0), torch.zeros(80), atol=1e-4, rtol=0)
        torch.testing.assert_close(
            found[row, :count].std(dim=0, correction=0), torch.ones(80), atol=1e-4, rtol=0
        )
    assert (found[1, 20:] == 0).all()


def test_frames_are_stacked_in_their_order() -> None:
    features = torch.arange(2 * 6 * 3, dtype=torch.float32).reshape(2, 6, 3)
    stacked = stack_frames(features, 4)
    assert stacked.shape == (2, 2, 12)
    assert stacked[1, 0].tolist() == features[1, :4].flatten().tolist()
    assert stacked[1, 1].tolist() == [*features[1, 4:].flatten().tolist(), *[0.0] * 6]
