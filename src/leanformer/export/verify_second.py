"""Does the export of a second pass do what the model does? As in `verify.py`, on the frames that the first pass gives.

torch, step by step        against   fp32 graph, step by step            same frames, ragged rows; states too
torch, both passes whole   against   both fp32 graphs, as the runtime    offline against streaming
both fp32 graphs           against   both int8 graphs                    what quantisation costs in all
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from leanformer.export.speech import Clip
from leanformer.export.steps import SecondStep, Step
from leanformer.export.verify import (
    Check,
    Floats,
    encode_offline,
    int8_checks,
    offline_check,
    step_checks,
    windows,
)
from leanformer.runtime.second_pass import SecondPass
from leanformer.runtime.session import Session
from leanformer.runtime.steps import alone
from leanformer.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Sessions:
    """Both passes of a bundle."""

    first: Session
    second: Session


@torch.no_grad()
def verify_second_fp32(
    step: Step, second: SecondStep, sessions: Sessions, clips: Sequence[Clip], chunk_frames: int
) -> list[Check]:
    """The float32 graphs against torch; the first pass takes chunks of `chunk_frames` feature frames."""
    assert second.model.second is not None
    encoded = [encode_offline(step, clip, chunk_frames) for clip in clips]
    whole = [
        second.model.second.whole(frames, torch.tensor([frames.shape[1]]), second.context)
        for frames in encoded
    ]
    expected = [second.model.log_probs(frames)[0].numpy() for frames in whole]
    streamed = [_stream(sessions, clip, chunk_frames) for clip in clips]
    rows, lookahead = [frames[0].numpy() for frames in encoded], second.model.second.lookahead
    return _named(
        [
            *step_checks(second, sessions.second, rows, second.context.chunk_size, lookahead),
            offline_check(list(zip(expected, streamed, strict=True))),
        ]
    )


def verify_second_int8(
    fp32: Sessions, int8: Sessions, clips: Sequence[Clip], chunk_frames: int, tokenizer: Tokenizer
) -> list[Check]:
    """Both int8 graphs, one after the other, against both float32 graphs."""
    exact, rounded = ([_stream(sessions, clip, chunk_frames) for clip in clips] for sessions in (fp32, int8))
    return _named(int8_checks(exact, rounded, tokenizer))


def _stream(sessions: Sessions, clip: Clip, chunk_frames: int) -> Floats:
    """Log-probs (T', V) of the second pass, as a stream of the runtime gets them."""
    state, second, found = sessions.first.initial_state(), SecondPass(sessions.second), []
    for features, lengths in windows([clip.features], chunk_frames):
        _, encoded, valid, state = sessions.first.step_encoded(features, lengths, state)
        found += alone(second.push(encoded[0, : valid[0]]))
    return np.concatenate([*found, *alone(second.finish())])


def _named(checks: Sequence[Check]) -> list[Check]:
    return [replace(one, key=f"second_{one.key}", title=f"second pass: {one.title}") for one in checks]
