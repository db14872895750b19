"""The transducer loss by its definition: every path through a lattice, one by one."""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor


def path_loss(log_blank: Tensor, log_label: Tensor) -> Tensor:
    """-log of the sum over all paths of one row, from arcs (T, U + 1) and (T, U); T is at least 1."""
    frames, labels = log_blank.shape[0], log_label.shape[1]
    steps = frames - 1 + labels  # the last blank is fixed
    paths = []
    for spoken in combinations(range(steps), labels):
        t, u, score = 0, 0, log_blank.new_zeros(())
        for step in range(steps):
            if step in spoken:
                score, u = score + log_label[t, u], u + 1
            else:
                score, t = score + log_blank[t, u], t + 1
        paths.append(score + log_blank[t, u])
    assert len(paths) == math.comb(steps, labels)
    return -torch.stack(paths).logsumexp(dim=0)


def batch_path_losses(
    log_blank: Tensor, log_label: Tensor, lengths: Sequence[int], target_lengths: Sequence[int]
) -> Tensor:
    """(B,) of a batch whose rows have at least a frame."""
    return torch.stack(
        [
            path_loss(blank[:t, : u + 1], label[:t, :u])
            for blank, label, t, u in zip(log_blank, log_label, lengths, target_lengths, strict=True)
        ]
    )
