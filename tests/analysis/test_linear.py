"""The linear probe finds what is linear, and says the same each time."""

from __future__ import annotations

import torch

from leanformer.analysis.linear import fit_linear


def test_it_finds_classes_that_a_line_parts_whatever_their_scale() -> None:
    torch.manual_seed(0)
    x = torch.randn(600, 5) * torch.tensor([1.0, 100.0, 0.01, 1.0, 1.0]) + 50.0
    labels = (x[:, 2] > 50.0).long() + 2 * (x[:, 1] > 50.0).long()
    classifier = fit_linear(x[:400], labels[:400], 4)
    assert (classifier(x[400:]) == labels[400:]).float().mean() > 0.94
    again = fit_linear(x[:400], labels[:400], 4)
    assert torch.equal(classifier.weight, again.weight)


def test_it_finds_nothing_where_there_is_nothing() -> None:
    torch.manual_seed(0)
    x, labels = torch.randn(2000, 5), torch.randint(0, 4, (2000,))
    classifier = fit_linear(x[:1500], labels[:1500], 4)
    assert 0.18 < (classifier(x[1500:]) == labels[1500:]).float().mean() < 0.32
