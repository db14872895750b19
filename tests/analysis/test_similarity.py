"""CKA and the Frechet distance against what is known of them."""

from __future__ import annotations

import pytest
import torch

from leanformer.analysis.similarity import frechet_distance, linear_cka

torch.manual_seed(0)
X = torch.randn(2000, 6) @ torch.randn(6, 6) + 3.0
ROTATION = torch.linalg.qr(torch.randn(6, 6)).Q


def test_cka_ignores_rotation_scale_and_shift_but_not_the_frames() -> None:
    assert linear_cka(X, 3.0 * (X @ ROTATION) - 7.0) == pytest.approx(1.0, abs=1e-5)
    assert linear_cka(X, X[torch.randperm(len(X))]) < 0.05
    assert linear_cka(X, torch.randn(2000, 9)) < 0.05


def test_cka_is_that_of_gram_matrices() -> None:
    """The paper's own definition: the normalised inner product of centred Gram matrices."""
    x, y = X[:80], (X[:80, :4] + torch.randn(80, 4)).tanh()
    centring = torch.eye(80) - 1.0 / 80
    k, l = (centring @ (one @ one.T) @ centring for one in (x, y))  # noqa: E741
    expected = (k * l).sum() / (k.norm() * l.norm())
    assert linear_cka(x, y) == pytest.approx(expected.item(), rel=1e-4)


def test_frechet_distance_of_axis_aligned_gaussians() -> None:
    noise = torch.randn(200_000, 2)
    one, other = noise * torch.tensor([1.0, 2.0]), noise * torch.tensor([3.0, 2.0]) + torch.tensor([0.0, 4.0])
    # (1 - 3)^2 + (2 - 2)^2 + 4^2 = 20, by the mean variance ((1 + 4) + (9 + 4)) / 2 = 9
    assert frechet_distance(one, other) == pytest.approx(20 / 9, rel=0.02)


def test_frechet_distance_sees_coordinates_and_not_the_frames() -> None:
    shuffled = X[torch.randperm(len(X))]
    assert frechet_distance(X, shuffled) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(X, (X - X.mean(dim=0)) @ ROTATION + X.mean(dim=0)) > 0.1
    assert frechet_distance(X, X + 5.0) == pytest.approx(frechet_distance(X + 5.0, X))
