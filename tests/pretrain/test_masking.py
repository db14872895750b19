"""Spans: where they may lie, what they depend on, and what stands in their place."""

from __future__ import annotations

import pytest
import torch

from leanformer.pretrain.masking import MaskingConfig, draw_spans, hide

CONFIG = MaskingConfig(span_frames=5, probability=0.1)


def spans_in(row: torch.Tensor) -> list[int]:
    """Lengths of the runs of True."""
    return [len(run) for run in "".join("x" if one else " " for one in row.tolist()).split()]


def test_spans_lie_in_the_utterance_and_never_in_padding() -> None:
    frames = torch.tensor([60, 30, 6, 5, 0])
    for step in range(50):
        hidden = draw_spans(frames, 64, CONFIG, (0, step))
        assert hidden.shape == (5, 64)
        for row, count in zip(hidden, frames.tolist(), strict=True):
            assert not row[count:].any()
            assert all(length >= CONFIG.span_frames for length in spans_in(row))
        assert hidden[:3].any(dim=1).all(), "at least one span where one fits"
        assert not hidden[3:].any(), "but never a whole utterance"


def test_the_share_of_hidden_frames_is_as_asked() -> None:
    hidden = draw_spans(torch.full((200,), 400), 400, CONFIG, (0, 0)).float().mean()
    # A frame is seen if none of the 5 places before it begins a span.
    assert hidden.item() == pytest.approx(1 - (1 - 0.1) ** 5, abs=0.02)


def test_a_row_depends_on_seed_step_place_and_its_own_length_alone() -> None:
    first = draw_spans(torch.tensor([40, 50]), 50, CONFIG, (1, 7))
    padded = draw_spans(torch.tensor([40, 20, 80]), 90, CONFIG, (1, 7))
    assert torch.equal(first[0, :40], padded[0, :40])
    for other in ((1, 8), (2, 7)):
        assert not torch.equal(first, draw_spans(torch.tensor([40, 50]), 50, CONFIG, other))
    assert not torch.equal(first, draw_spans(torch.tensor([40, 50]), 50, CONFIG, (1, 7), draw=9))


@pytest.mark.parametrize("fill", ["noise", "zero"])
def test_only_hidden_frames_change(fill: str) -> None:
    config = MaskingConfig.model_validate({"fill": fill, "noise_std": 0.5})
    features = torch.randn(2, 39, 80)
    hidden = torch.zeros(2, 10, dtype=torch.bool)
    hidden[0, 2:5] = True
    seen = hide(features, hidden, 4, config, torch.Generator().manual_seed(0))
    changed = (seen != features).any(dim=-1)
    assert changed.nonzero().tolist() == [[0, frame] for frame in range(8, 20)]
    inside = seen[0, 8:20]
    assert inside.std().item() == pytest.approx(0.5 if fill == "noise" else 0.0, abs=0.05)
    again = hide(features, hidden, 4, config, torch.Generator().manual_seed(0))
    assert torch.equal(seen, again)
