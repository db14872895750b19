import pytest
import torch

from leanformer.layers.dropout import LockedDropout


@pytest.fixture
def dropped() -> torch.Tensor:
    """Ones (400, 5, 50) after dropout of 0.3."""
    torch.manual_seed(0)
    return LockedDropout(0.3).train().forward(torch.ones(400, 5, 50))


def test_all_frames_of_an_utterance_share_a_mask(dropped: torch.Tensor) -> None:
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))


def test_utterances_and_channels_draw_their_own(dropped: torch.Tensor) -> None:
    kept = dropped[:, 0] > 0
    assert len(torch.unique(kept, dim=0)) == 400
    assert len(torch.unique(kept, dim=1).T) == 50


def test_as_many_are_dropped_as_asked_and_the_others_make_up_for_it(dropped: torch.Tensor) -> None:
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0.0, 1 / 0.7])
    share = (dropped[:, 0] == 0).float().mean().item()
    assert share == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 20_000) ** 0.5)  # four standard deviations
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)


def test_is_the_identity_outside_training_and_at_0() -> None:
    x = torch.randn(2, 3, 4)
    assert LockedDropout(0.9).eval()(x) is x
    assert LockedDropout(0.0).train()(x) is x


def test_the_seed_decides() -> None:
    layer, x = LockedDropout(0.5).train(), torch.ones(3, 2, 40)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)


def test_keeps_the_type() -> None:
    x = torch.ones(1, 1, 64, dtype=torch.bfloat16)
    assert LockedDropout(0.5).train()(x).dtype == torch.bfloat16
