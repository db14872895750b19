"""Expected word errors as a loss: which other labels would have made the greedy words better or worse.

CTC raises the probability of the right text, whatever its rivals; the words that greedy search writes follow only
loosely. Here the gradient is that of the expected number of word errors (Graves & Jaitly 2014, section 4). A stretch
of frames w is drawn from the model while all others keep their best label, path a, and the change in errors is
credited to the labels drawn:

    gradient = sum over w of (errors(a with w drawn) - errors(a)) * grad log p(labels drawn in w)

Without the second term it would be the same on average and far noisier (a self-critical baseline, Rennie et al.
2017). Short stretches credit a change to the labels that made it, as Graves & Jaitly do with single frames; longer
ones also find rivals that differ in several labels, such as another word.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from leanformer.model import BLANK_ID

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class ExpectedErrors:
    """`loss` is there for its gradient: its value says nothing. `greedy` is the word error rate of the best labels."""

    loss: Tensor
    greedy: Tensor


def expected_errors(
    log_probs: Tensor,
    lengths: Tensor,
    wanted: Sequence[str],
    decode: Callable[[Sequence[int]], str],
    window: int,
    samples: int,
    generator: torch.Generator,
) -> ExpectedErrors:
    """The loss whose gradient is that of the expected word errors, per wanted word.

    Args:
        log_probs: (B, T, V), log-probabilities.
        lengths: (B,) valid frames.
        wanted: B texts; a row with an empty one counts for nothing.
        decode: tokens to text.
        window: frames in a stretch that is drawn.
        samples: draws of each stretch.
        generator: of the draws.
    """
    best = log_probs.detach().argmax(dim=-1)
    drawn = _draw(log_probs.detach(), samples, generator)
    first = int(torch.randint(window, (1,), generator=generator))
    stretch = (np.arange(best.shape[1]) + first) // window
    change = np.zeros(drawn.shape, np.float32)
    errors = words = 0
    for row, text in enumerate(wanted):
        size, reference = int(lengths[row]), text.split()
        if not reference:
            continue
        paths = best[row, :size].cpu().numpy(), drawn[row, :size].cpu().numpy()
        found, change[row, :size] = _changes(*paths, stretch[:size], reference, decode)
        errors, words = errors + found, words + len(reference)
    credit = torch.from_numpy(change).to(log_probs.device) * log_probs.gather(-1, drawn)
    scale = 1.0 / (samples * max(1, words))
    return ExpectedErrors(credit.sum() * scale, torch.tensor(errors / max(1, words)))


def _draw(log_probs: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """Labels (B, T, samples) as likely as the model finds them."""
    batch, frames, _ = log_probs.shape
    probs = log_probs.float().exp().flatten(0, 1).cpu()
    labels = torch.multinomial(probs, samples, replacement=True, generator=generator)
    return labels.view(batch, frames, samples).to(log_probs.device)


def _changes(
    best: Labels,
    drawn: Labels,
    stretch: Labels,
    reference: Sequence[str],
    decode: Callable[[Sequence[int]], str],
) -> tuple[int, NDArray[np.float32]]:
    """Errors of the labels `best` (T,), and (T, samples) what they change by when a frame's stretch is drawn."""

    def errors(path: Labels) -> int:
        return int(Levenshtein.distance(decode(_merge(path)).split(), reference))

    base = errors(best)
    change = np.zeros(drawn.shape, np.float32)
    differs = drawn != best[:, None]
    for sample in range(drawn.shape[1]):
        for one in np.unique(stretch[differs[:, sample]]):
            inside = stretch == one
            change[inside, sample] = errors(np.where(inside, drawn[:, sample], best)) - base
    return base, change


def _merge(path: Labels) -> list[int]:
    """A path's tokens: repeats merged, blanks removed."""
    kept = path != BLANK_ID
    kept[1:] &= path[1:] != path[:-1]
    tokens: list[int] = path[kept].tolist()
    return tokens
