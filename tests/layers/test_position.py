import torch

from leanformer.layers.position import rotary_angles, rotate

HEAD_DIM = 8


def rotated(x: torch.Tensor, place: int) -> torch.Tensor:
    """One vector (HEAD_DIM,) turned to a place."""
    cos, sin = rotary_angles(place + 1, HEAD_DIM, x.device)
    return rotate(x[None, None, None], cos[place:], sin[place:])[0, 0, 0]


def test_only_the_difference_of_places_matters() -> None:
    query, key = torch.randn(2, HEAD_DIM, generator=torch.Generator().manual_seed(0))
    for distance in (-7, 0, 1, 20):
        scores = [float(rotated(query, p + distance) @ rotated(key, p)) for p in (7, 30, 411)]
        assert max(scores) - min(scores) < 1e-4


def test_the_difference_of_places_does_matter() -> None:
    query, key = torch.randn(2, HEAD_DIM, generator=torch.Generator().manual_seed(0))
    scores = [float(rotated(query, p) @ rotated(key, 0)) for p in (0, 1, 2, 5)]
    assert all(abs(a - b) > 1e-2 for i, a in enumerate(scores) for b in scores[:i])


def test_each_pair_turns_at_its_own_rate() -> None:
    """The pair (i, i + d/2) turns by place * 10000^(-2i/d)."""
    x = torch.zeros(HEAD_DIM)
    x[:4] = 1.0
    for place in (0, 1, 3):
        angles = place * 10_000.0 ** -(torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        expected = torch.cat([angles.cos(), angles.sin()])
        assert torch.allclose(rotated(x, place), expected, atol=1e-6)


def test_lengths_stay() -> None:
    x = torch.randn(HEAD_DIM)
    for place in (0, 5, 400):
        assert torch.isclose(rotated(x, place).norm(), x.norm())


def test_keeps_the_type_of_what_it_turns() -> None:
    cos, sin = rotary_angles(3, HEAD_DIM, torch.device("cpu"))
    assert cos.shape == sin.shape == (3, HEAD_DIM // 2)
    assert rotate(torch.ones(1, 2, 3, HEAD_DIM, dtype=torch.bfloat16), cos, sin).dtype == torch.bfloat16
