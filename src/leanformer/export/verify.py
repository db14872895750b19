"""Does the export do what the model does? Compared on real speech, through the runtime's own session.

    torch, step by step     against   fp32 graph, step by step     same inputs, ragged rows; states too
    torch, one large step   against   fp32 graph, step by step     offline against streaming
    fp32 graph              against   int8 graph                   both streaming: what quantisation costs

Differences are those of log-probabilities, in nats, over valid frames. `verify_second.py` does so for a second pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leanformer.decoder.ctc import GreedySearch
from leanformer.errors import ExportError
from leanformer.evaluate.wer import count_errors, total
from leanformer.export.speech import Clip
from leanformer.export.steps import StatefulStep, Step
from leanformer.layers.streaming import Context
from leanformer.runtime.session import Session
from leanformer.text.tokenizer import Tokenizer

FP32_TOLERANCE = 1e-3
"""Nats. Rounding makes about 1e-5; a wrong mask or cache makes 0.1 and more."""
INT8_AGREEMENT = 0.95
"""Share of frames whose best label must be the same in int8."""
AGREES = "int8_agreement"
"""The end of the keys of checks on that."""
ROWS = 4

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Check:
    """One figure. With `at_most` or `at_least`, it decides whether the export is good."""

    key: str
    title: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the value keeps its bounds; NaN keeps none."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def bound(self) -> str:
        """The bound in words, empty without one."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return "" if self.at_least is None else f"at least {self.at_least:g}"


def require_passed(checks: Sequence[Check]) -> None:
    """Raise ExportError naming each check that failed."""
    failed = [f"{one.title}: {one.value:.3g}, must be {one.bound}" for one in checks if not one.passed]
    if failed:
        raise ExportError(
            f"the export does not do what the model does; nothing was written: {'; '.join(failed)}"
        )


def verify_fp32(step: Step, session: Session, clips: Sequence[Clip], chunk_frames: int) -> list[Check]:
    """The float32 graph against torch, with chunks of `chunk_frames` feature frames."""
    found = [
        (_offline(step, clip, chunk_frames), _stream(session, clip.features, chunk_frames)) for clip in clips
    ]
    return [
        *step_checks(step, session, [clip.features for clip in clips], chunk_frames),
        offline_check(found),
    ]


def verify_int8(
    fp32: Session, int8: Session, clips: Sequence[Clip], chunk_frames: int, tokenizer: Tokenizer
) -> list[Check]:
    """The int8 graph against the float32 graph, stream by stream, as `verify_fp32` has made sure of the latter."""
    exact, rounded = (
        [_stream(session, clip.features, chunk_frames) for clip in clips] for session in (fp32, int8)
    )
    return int8_checks(exact, rounded, tokenizer)


@torch.no_grad()
def step_checks(
    step: StatefulStep, session: Session, rows: Sequence[Floats], size: int, ahead: int = 0
) -> list[Check]:
    """Torch against its graph over all steps of rows (T, F) in one batch: log-probs, states, and counters.

    A step has `size` frames, and the `ahead` that follow them.
    """
    rows = rows[:ROWS]
    theirs, ours = step.begin(len(rows)), session.initial_state(len(rows))
    log_probs = states = counters = 0.0
    for x, lengths in windows(rows, size, ahead):
        (expected, valid, *_), theirs = step.advance(torch.from_numpy(x), torch.from_numpy(lengths), theirs)
        found, found_valid, ours = session.step(x, lengths, ours)
        if found_valid.tolist() != valid.tolist():
            raise ExportError(
                f"the graph says {found_valid.tolist()} frames are valid, torch {valid.tolist()}"
            )
        real = np.arange(found.shape[1]) < found_valid[:, None]
        packed = step.packing.pack(theirs)
        log_probs = max(log_probs, _largest(expected.numpy()[real] - found[real]))
        differences = [_relative(a.numpy(), b) for a, b in zip(packed, ours, strict=True)]
        states = max([states, *differences])
        counters = max(counters, step.packing.disagreement(theirs))
    return [
        Check("fp32_max", "torch - fp32 graph, largest difference", log_probs, at_most=FP32_TOLERANCE),
        Check(
            "fp32_state_max", "torch - fp32 graph, state, relative difference", states, at_most=FP32_TOLERANCE
        ),
        Check("counters", "counters of the layers, largest disagreement", counters, at_most=0),
    ]


def offline_check(found: Sequence[tuple[Floats, Floats]]) -> Check:
    """Of the log-probs (T', V) of each clip, by torch offline and by the graph streaming."""
    return Check(
        "offline_max",
        "torch offline - fp32 graph streaming, largest",
        max(_largest(expected - streamed) for expected, streamed in found),
        at_most=FP32_TOLERANCE,
    )


def int8_checks(exact: Sequence[Floats], rounded: Sequence[Floats], tokenizer: Tokenizer) -> list[Check]:
    """Of the log-probs (T', V) of each clip, in float32 and in int8."""
    # Probabilities, not their logs: of a label that is not there, no one cares if it is e-12 or e-14.
    difference = np.concatenate([abs(np.exp(a) - np.exp(b)) for a, b in zip(exact, rounded, strict=True)])
    same = np.concatenate([a.argmax(1) == b.argmax(1) for a, b in zip(exact, rounded, strict=True)])
    texts = [[_text(one, tokenizer) for one in side] for side in (exact, rounded)]
    errors = total(count_errors(*texts))
    return [
        Check("int8_max", "fp32 - int8, probabilities, largest difference", float(difference.max())),
        Check("int8_mean", "fp32 - int8, probabilities, mean difference", float(difference.mean())),
        Check(
            AGREES,
            "fp32 = int8, best label, share of frames",
            float(same.mean()),
            None,
            INT8_AGREEMENT,
        ),
        Check("int8_equal_texts", "fp32 = int8, text, share of clips", _share_equal(*texts)),
        Check("int8_wer", "int8 text, word error rate against fp32 text", errors.wer or 0.0),
    ]


def windows(rows: Sequence[Floats], size: int, ahead: int = 0) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    """Frames (B, size + ahead, F) of rows (T, F), `size` further each time until the longest row ends, and how many
    of them are real, (B,), which is 0 for a row that ended.
    """
    for start in range(0, max(map(len, rows)), size):
        pieces = [row[start : start + size + ahead] for row in rows]
        frames = np.zeros((len(rows), size + ahead, pieces[0].shape[1]), np.float32)
        for row, piece in zip(frames, pieces, strict=True):
            row[: len(piece)] = piece
        yield frames, np.array([len(piece) for piece in pieces], np.int64)


@torch.no_grad()
def _offline(step: Step, clip: Clip, chunk_frames: int) -> Floats:
    """Log-probs (T', V) of torch in one large step, seeing the same chunks as the stream does."""
    found: Floats = step.model.log_probs(encode_offline(step, clip, chunk_frames))[0].numpy()
    return found


@torch.no_grad()
def encode_offline(step: Step, clip: Clip, chunk_frames: int) -> Tensor:
    """Encoder output (1, T', D) of torch in one large step, seeing the same chunks as the stream does."""
    factor = step.model.config.encoder.subsampling.factor
    context = Context(chunk_frames // factor, step.context.left_context)
    features = torch.from_numpy(clip.features)[None]
    state = step.model.initial_state(1, context)
    return step.model.encode(features, torch.tensor([features.shape[1]]), state)[0]


def _stream(session: Session, features: Floats, chunk_frames: int) -> Floats:
    """Log-probs (T', V) of a graph, chunk by chunk."""
    state = session.initial_state()
    found = []
    for frames, lengths in windows([features], chunk_frames):
        log_probs, valid, state = session.step(frames, lengths, state)
        found.append(log_probs[0, : valid[0]])
    return np.concatenate(found)


def _relative(expected: Floats, found: Floats) -> float:
    """Largest difference over the largest value: caches hold values of any size, and float32 rounds relative to it."""
    return _largest(expected - found) / max(1.0, _largest(expected))


def _text(log_probs: Floats, tokenizer: Tokenizer) -> str:
    search = GreedySearch(tokenizer.blank_id)
    state = search.step(search.initial_state(), log_probs)
    return tokenizer.decode(search.hypothesis(state).tokens)


def _share_equal(texts: Sequence[str], others: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(texts, others, strict=True)) / len(texts)


def _largest(difference: Floats) -> float:
    return float(np.abs(difference).max(initial=0.0))
