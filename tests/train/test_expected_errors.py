"""The loss of expected word errors has the gradient of what it is named after."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from leanformer.config_toml import from_dict
from leanformer.errors import ConfigError
from leanformer.train.expected_errors import ExpectedErrors, expected_errors
from leanformer.train.loop import train
from leanformer.train.recipe import Recipe

from .conftest import DATA, TINY

WORDS = ("", "a", "b")
WHOLE = 10_000  # a window of all frames, save once in thousands of times


def decode(tokens: Sequence[int]) -> str:
    return " ".join(WORDS[token] for token in tokens)


def errors_of(path: Sequence[int], text: str) -> int:
    tokens = [label for label, _ in itertools.groupby(path) if label != 0]
    return int(Levenshtein.distance(decode(tokens).split(), text.split()))


def logits(batch: int, frames: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, len(WORDS), generator=generator, dtype=torch.float64).requires_grad_()


def found(scores: Tensor, texts: Sequence[str], window: int, samples: int, seed: int = 0) -> ExpectedErrors:
    lengths = torch.full((len(texts),), scores.shape[1])
    generator = torch.Generator().manual_seed(seed)
    log_probs = scores.log_softmax(-1)
    return expected_errors(log_probs, lengths, texts, decode, window, samples, generator)


def exact(scores: Tensor, text: str, window: range) -> Tensor:
    """Expected errors with the frames of a window drawn and the others at their best label, by trying all paths."""
    log_probs = scores.log_softmax(-1)[0]
    best = log_probs.argmax(-1).tolist()
    total = log_probs.new_zeros(())
    for labels in itertools.product(range(len(WORDS)), repeat=len(window)):
        path = [*best[: window.start], *labels, *best[window.stop :]]
        chance = sum(
            (log_probs[t, label] for t, label in zip(window, labels, strict=True)), log_probs[0, 0] * 0
        )
        total = total + chance.exp() * errors_of(path, text)
    return total / len(text.split())


def test_gradient_is_that_of_the_expected_errors() -> None:
    scores = logits(1, 4)
    (wanted,) = torch.autograd.grad(exact(scores, "a b", range(4)), scores)
    (given_,) = torch.autograd.grad(found(scores, ["a b"], WHOLE, 60_000).loss, scores)
    torch.testing.assert_close(given_, wanted, atol=0.004, rtol=0.0)
    assert wanted.abs().max() > 0.05


def test_each_frame_alone_is_credited_with_its_own_changes() -> None:
    scores = logits(1, 4, seed=1)
    alone = torch.stack([exact(scores, "b a", range(t, t + 1)) for t in range(4)]).sum()
    (wanted,) = torch.autograd.grad(alone, scores)
    (given_,) = torch.autograd.grad(found(scores, ["b a"], 1, 60_000).loss, scores)
    torch.testing.assert_close(given_, wanted, atol=0.004, rtol=0.0)
    assert wanted.abs().max() > 0.05


def test_shown_is_the_error_rate_of_the_best_labels() -> None:
    scores = logits(2, 5)
    texts = ["a b a", "b"]
    best = scores.argmax(-1).tolist()
    wrong = sum(errors_of(path, text) for path, text in zip(best, texts, strict=True))
    assert found(scores, texts, 2, 3).greedy.item() == pytest.approx(wrong / 4)


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 1000))
def test_padding_and_empty_rows_get_no_gradient(size: int, window: int, seed: int) -> None:
    scores = logits(2, 6, seed)
    lengths = torch.tensor([size, 6])
    generator = torch.Generator().manual_seed(seed)
    loss = expected_errors(scores.log_softmax(-1), lengths, ["a b", ""], decode, window, 8, generator).loss
    (gradient,) = torch.autograd.grad(loss, scores)
    assert not gradient[0, size:].any()
    assert not gradient[1].any()


def test_the_same_draws_give_the_same_loss() -> None:
    scores = logits(2, 6)
    one, same, other = (found(scores, ["a", "b a"], 3, 4, seed).loss.item() for seed in (1, 1, 2))
    assert one == same != other


def test_a_run_shows_it_from_its_step_on(tmp_path: Path) -> None:
    objective = {"expected_errors": {"start_step": 30, "samples": 2}}
    schedule = {"max_steps": 40, "dev_every_steps": 40, "checkpoint_minutes": 0}
    train(from_dict(Recipe, {**TINY, "objective": objective, "schedule": schedule}, "it"), [DATA], tmp_path)
    events = EventAccumulator(str(next((tmp_path / "tensorboard").rglob("events*")))).Reload()
    assert [event.step for event in events.Scalars("train/ctc")] == [19, 39]
    assert [event.step for event in events.Scalars("train/errors")] == [39]


def test_it_wants_ctc() -> None:
    transducer = {"model": TINY["model"] | {"transducer": {}}}
    objective = {"ctc_weight": 0.0, "expected_errors": {}}
    with pytest.raises(ConfigError, match="expected_errors needs CTC"):
        from_dict(Recipe, {**TINY, **transducer, "objective": objective}, "it")
