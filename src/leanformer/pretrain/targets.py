"""What is predicted: log-mel features, normalised for each utterance, stacked to the rate of the encoder."""

import torch
from torch import Tensor
from torch.nn import functional as F

from leanformer.layers.masks import valid_frames

_LEAST_STD = 1e-2


def normalize_utterances(features: Tensor, lengths: Tensor) -> Tensor:
    """Zero mean and unit variance in every bin over each utterance's own frames; padding becomes 0.

    Args:
        features: (B, T, F).
        lengths: (B,) valid frames.
    """
    valid = valid_frames(lengths, features.shape[1])[:, :, None]
    count = lengths.clamp(min=1)[:, None, None]
    mean = features.masked_fill(~valid, 0.0).sum(dim=1, keepdim=True) / count
    centred = (features - mean).masked_fill(~valid, 0.0)
    std = (centred.square().sum(dim=1, keepdim=True) / count).sqrt()
    return centred / std.clamp(min=_LEAST_STD)


def stack_frames(features: Tensor, factor: int) -> Tensor:
    """(B, T, F) -> (B, ceil(T / factor), factor F): the features that each encoder frame begins with.

    Frames that are missing at the end count as zeros.
    """
    missing = -features.shape[1] % factor
    padded = F.pad(features, (0, 0, 0, missing))
    return torch.unflatten(padded, 1, (-1, factor)).flatten(2)
