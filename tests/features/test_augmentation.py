import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from leanformer.features.augmentation import SpecAugment, SpecAugmentConfig

LENGTHS = torch.tensor([1000, 600, 99, 0])


def masked(config: SpecAugmentConfig, seed: int = 0) -> torch.Tensor:
    """Booleans (4, 1000, 80): what was hidden in a batch of ones."""
    generator = torch.Generator().manual_seed(seed)
    return SpecAugment(config)(torch.ones(4, 1000, 80), LENGTHS, generator) == 0


def test_the_generator_decides_everything():
    config = SpecAugmentConfig()
    assert torch.equal(masked(config, seed=1), masked(config, seed=1))
    assert not torch.equal(masked(config, seed=1), masked(config, seed=2))


def test_rows_draw_their_own_masks():
    generator = torch.Generator().manual_seed(0)
    hidden = SpecAugment()(torch.ones(2, 1000, 80), torch.tensor([1000, 1000]), generator) == 0
    assert not torch.equal(hidden[0], hidden[1])


def test_bands_are_whole_and_no_wider_than_allowed():
    config = SpecAugmentConfig(time_masks=0, freq_masks=2, freq_width=10)
    for seed in range(50):
        hidden = masked(config, seed)
        for row, length in enumerate(LENGTHS[:3].tolist()):
            bands = hidden[row, :length]
            assert torch.equal(bands.all(dim=0), bands.any(dim=0))
            assert bands.any(dim=0).sum() <= 20


def test_stretches_are_whole_and_no_longer_than_allowed():
    config = SpecAugmentConfig(freq_masks=0, time_masks=3, time_width=40, time_ratio=0.05, time_density=0.005)
    longest = 0
    for seed in range(50):
        hidden = masked(config, seed)
        assert torch.equal(hidden.all(dim=2), hidden.any(dim=2))
        frames = hidden.any(dim=2).sum(dim=1)
        assert frames[0] <= 3 * 40
        assert frames[1] <= 3 * 30
        longest = max(longest, int(frames[0]))
    assert longest > 60


def test_short_rows_get_fewer_stretches():
    config = SpecAugmentConfig(freq_masks=0, time_masks=10, time_density=0.01, time_ratio=1.0)
    assert not any(masked(config, seed)[2].any() for seed in range(20))
    config = SpecAugmentConfig(freq_masks=0, time_masks=10, time_density=0.02, time_ratio=1.0)
    assert any(masked(config, seed)[2].any() for seed in range(20))


def test_nothing_beyond_the_lengths_is_touched():
    config = SpecAugmentConfig(time_ratio=1.0, time_width=1000, time_density=1.0)
    for seed in range(20):
        hidden = masked(config, seed)
        for row, length in enumerate(LENGTHS.tolist()):
            assert not hidden[row, length:].any()


def test_masks_do_not_depend_on_how_far_a_row_is_padded():
    lengths = torch.tensor([300, 200])
    for seed in range(5):
        tight = SpecAugment()(torch.ones(2, 300, 80), lengths, torch.Generator().manual_seed(seed))
        loose = SpecAugment()(torch.ones(2, 900, 80), lengths, torch.Generator().manual_seed(seed))
        assert torch.equal(loose[:, :300], tight)


def test_hides_with_zeros_and_keeps_the_rest():
    features = torch.randn(4, 1000, 80) + 10
    kept = features.clone()
    augmented = SpecAugment()(features, LENGTHS, torch.Generator().manual_seed(0))
    assert torch.equal(features, kept)
    assert torch.equal(augmented[augmented != 0], features[augmented != 0])
    assert (augmented == 0).any()


def test_no_masks_means_no_change():
    assert not masked(SpecAugmentConfig(freq_masks=0, time_masks=0)).any()


def test_widths_cover_the_whole_range():
    config = SpecAugmentConfig(time_masks=0, freq_masks=1, freq_width=3)
    widths = {int(masked(config, seed)[0, 0].sum()) for seed in range(60)}
    assert widths == {0, 1, 2, 3}


@pytest.mark.parametrize("change", [{"freq_width": -1}, {"time_ratio": 1.5}, {"time_density": -0.1}])
def test_impossible_settings_are_refused(change):
    (name,) = change
    with pytest.raises(ValidationError, match=name):
        TypeAdapter(SpecAugmentConfig).validate_python(change)
