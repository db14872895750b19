"""A bundle without a trained model: small enough to build in a moment, stateful enough to notice lost state.

Its graph counts loud frames since the stream began, and every `FRAMES_PER_TOKEN` of them move on to the next
token of the vocabulary (0 is the blank). Speech is noise and silence is silence: the text follows from how
long it was loud, and from nothing else.

With a second pass, the first gives it that count. The second says the vocabulary backwards, `LOOKAHEAD` frames
earlier, and moves on by another token every `FRAMES_PER_MOVE` frames of its own.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import settings

from leanformer.features.spec import FeatureSpec
from leanformer.text.tokenizer import Tokenizer, train_tokenizer

settings.register_profile("untimed", deadline=None)  # a busy machine must fail no test
settings.load_profile("untimed")

RATE = 16_000
FACTOR = 4
CHUNK_MS = 320
FRAMES_PER_TOKEN = 12
CHUNK_FRAMES, LOOKAHEAD, FRAMES_PER_MOVE = 8, 3, 50

# `round` is one cycle of the vocabulary; the count stays below it, so that days of stream are exact.
GRAPH = """
<ir_version: 9, opset_import: ["" : 18]>
counter (float[batch, frames, 80] features, int64[batch] lengths,
         float[batch, 1] state_count, float[batch, 2, 3] state_steps)
     => (float[batch, outputs, {vocabulary}] log_probs, int64[batch] log_prob_lengths,{encoder_out}
         float[batch, 1] next_state_count, float[batch, 2, 3] next_state_steps)
{{
    zero = Constant <value_int: int = 0> ()
    one = Constant <value_int: int = 1> ()
    axis_one = Constant <value_ints: ints = [1]> ()
    axis_two = Constant <value_ints: ints = [2]> ()
    shape = Shape (features)
    num_frames = Gather (shape, one)
    places = Range (zero, num_frames, one)
    ends = Unsqueeze (lengths, axis_one)
    valid = Less (places, ends)
    level = ReduceMean <keepdims: int = 0> (features, axis_two)
    threshold = Constant <value_float: float = 5.0> ()
    above = Greater (level, threshold)
    loud = And (above, valid)
    counted = Cast <to: int = 1> (loud)
    by_four = Constant <value_ints: ints = [0, -1, 4]> ()
    groups = Reshape (counted, by_four)
    added = ReduceSum <keepdims: int = 0> (groups, axis_two)
    summed = CumSum (added, one)
    total = Add (summed, state_count)
    round = Constant <value_float: float = {round}> ()
    count = Mod <fmod: int = 1> (total, round)
    per_token = Constant <value_float: float = {frames_per_token}> ()
    tokens = Div (count, per_token)
    token = Floor (tokens)
    column = Unsqueeze (token, axis_two)
    labels = Constant <value_floats: floats = {labels}> ()
    differences = Sub (column, labels)
    distances = Abs (differences)
    scale = Constant <value_float: float = -5.0> ()
    logits = Mul (distances, scale)
    log_probs = LogSoftmax <axis: int = -1> (logits)
    three = Constant <value_int: int = 3> ()
    four = Constant <value_int: int = 4> ()
    rounded = Add (lengths, three)
    log_prob_lengths = Div (rounded, four)
    last = Constant <value_int: int = -1> ()
    last_count = Gather <axis: int = 1> (count, last)
    next_state_count = Unsqueeze (last_count, axis_one)
    one_step = Constant <value_float: float = 1.0> ()
    next_state_steps = Add (state_steps, one_step){encode}
}}
"""
ENCODER_OUT = {
    "encoder_out": " float[batch, outputs, 1] encoder_out,",
    "encode": "\n    encoder_out = Unsqueeze (count, axis_two)",
}

SECOND_GRAPH = """
<ir_version: 9, opset_import: ["" : 18]>
backwards (float[batch, places, 1] frames, int64[batch] lengths, float[batch, 1] state_seen)
     => (float[batch, outputs, {vocabulary}] log_probs, int64[batch] log_prob_lengths,
         float[batch, outputs, 1] encoder_out, float[batch, 1] next_state_seen)
{{
    zero = Constant <value_int: int = 0> ()
    one = Constant <value_int: int = 1> ()
    first = Constant <value_ints: ints = [0]> ()
    axis_one = Constant <value_ints: ints = [1]> ()
    axis_two = Constant <value_ints: ints = [2]> ()
    ahead = Constant <value_ints: ints = [{lookahead}]> ()
    shape = Shape <start: int = 1, end: int = 2> (frames)
    size = Sub (shape, ahead)
    num_places = Squeeze (shape)
    num_frames = Squeeze (size)
    places = Range (zero, num_places, one)
    ends = Unsqueeze (lengths, axis_one)
    valid = Less (places, ends)
    counts = Squeeze (frames, axis_two)
    silence = Constant <value_float: float = 0.0> ()
    heard = Where (valid, counts, silence)
    now = Slice (heard, first, size, axis_one)
    later = Slice (heard, ahead, shape, axis_one)
    count = Max (now, later)
    encoder_out = Unsqueeze (count, axis_two)
    per_token = Constant <value_float: float = {frames_per_token}> ()
    tokens = Div (count, per_token)
    token = Floor (tokens)
    index = Range (zero, num_frames, one)
    number = Cast <to: int = 1> (index)
    place = Add (number, state_seen)
    per_move = Constant <value_float: float = {frames_per_move}> ()
    many_moves = Div (place, per_move)
    moves = Floor (many_moves)
    sign = Sign (token)
    moved = Mul (moves, sign)
    back = Sub (moved, token)
    all = Constant <value_float: float = {vocabulary}.0> ()
    from_end = Add (back, all)
    label = Mod <fmod: int = 1> (from_end, all)
    column = Unsqueeze (label, axis_two)
    labels = Constant <value_floats: floats = {labels}> ()
    differences = Sub (column, labels)
    distances = Abs (differences)
    scale = Constant <value_float: float = -5.0> ()
    logits = Mul (distances, scale)
    log_probs = LogSoftmax <axis: int = -1> (logits)
    log_prob_lengths = Min (lengths, size)
    run = Cast <to: int = 1> (log_prob_lengths)
    added = Unsqueeze (run, axis_one)
    next_state_seen = Add (state_seen, added)
}}
"""


def _state(name: str, *shape: int) -> dict[str, Any]:
    names = {"input": f"state_{name}", "output": f"next_state_{name}"}
    return {**names, "shape": ["batch", *shape], "dtype": "float32"}


def _parsed(graph: str) -> bytes:
    content: bytes = onnx.parser.parse_model(graph).SerializeToString()
    return content


SECOND = {
    "chunk_frames": CHUNK_FRAMES,
    "lookahead_frames": LOOKAHEAD,
    "graphs": {"int8": {"file": "second.int8.onnx"}},
    "state": [_state("seen", 1)],
}


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Ctrl-C works here and in what tests start, though a shell may have begun all this in the background, without."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Word-pieces: whole words, parts of words, and single letters."""
    return train_tokenizer(["the cat sat on the mat", "a cat and a rat ran", "that man sat on a hat"], 18)


@pytest.fixture(scope="session")
def build_bundle(tokenizer: Tokenizer) -> Callable[..., Path]:
    """Writes a bundle into a folder, of one or two passes; keyword arguments replace values of its manifest."""

    def build(folder: Path, passes: int = 1, **changes: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        sizes = {
            "vocabulary": len(tokenizer),
            "round": float(FRAMES_PER_TOKEN * len(tokenizer)),
            "frames_per_token": float(FRAMES_PER_TOKEN),
            "labels": [float(label) for label in range(len(tokenizer))],
            "lookahead": LOOKAHEAD,
            "frames_per_move": float(FRAMES_PER_MOVE),
        }
        encoder_out = ENCODER_OUT if passes == 2 else dict.fromkeys(ENCODER_OUT, "")
        parts = {
            "model.int8.onnx": _parsed(GRAPH.format(**sizes, **encoder_out)),
            "tokenizer.model": tokenizer.to_bytes(),
            "MODEL_CARD.md": b"It counts.\n",
        }
        if passes == 2:
            parts["second.int8.onnx"] = _parsed(SECOND_GRAPH.format(**sizes))
            changes = {"second": SECOND} | changes
        for name, content in parts.items():
            (folder / name).write_bytes(content)
        manifest = {
            "format": "leanformer-bundle",
            "version": 1,
            "name": "counter",
            "licence": "Apache-2.0",
            "features": FeatureSpec().to_dict(),
            "blank_id": 0,
            "vocabulary_size": len(tokenizer),
            "subsampling_factor": FACTOR,
            "default_chunk_ms": CHUNK_MS,
            "max_chunk_ms": 10_240,
            "left_context_frames": 64,
            "decoders": ["ctc"],
            "graphs": {"int8": {"file": "model.int8.onnx"}},
            "state": [_state("count", 1), _state("steps", 2, 3)],
            "parts": {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest | changes))
        return folder

    return build


@pytest.fixture(scope="session")
def bundle_folder(build_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, unharmed."""
    return build_bundle(tmp_path_factory.mktemp("bundle") / "counter")


@pytest.fixture(scope="session")
def cascade_folder(build_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with a second pass, unharmed."""
    return build_bundle(tmp_path_factory.mktemp("cascade") / "counter", passes=2)


@pytest.fixture(scope="session")
def noise() -> Callable[[float], np.ndarray]:
    """So many seconds of what the bundle takes for speech, (S,) float32."""
    generator = np.random.default_rng(7)

    def make(seconds: float, rate: int = RATE) -> np.ndarray:
        return (0.2 * generator.standard_normal(round(seconds * rate))).clip(-1, 1).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def speech(noise: Callable[[float], np.ndarray]) -> np.ndarray:
    """(S,) float32 at 16 kHz: two sentences with a pause of 1.6 s between them, and silence around."""
    silence = np.zeros(int(0.4 * RATE), np.float32)
    return np.concatenate([silence, noise(1.53), *[silence] * 4, noise(2.71), silence[:1234]])
