"""Every preset of a size that runs in no time streams as it runs offline and fuses; the tiny ones export, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from leanformer.compress.fuse import fuse
from leanformer.encoder.cascade import SecondPass
from leanformer.export import verify
from leanformer.export.export import Settings, export
from leanformer.export.speech import read_clips
from leanformer.features.spec import FeatureSpec
from leanformer.layers.normalization import BatchNorm
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel
from leanformer.presets import TECHNIQUES, names, preset
from leanformer.profile.graphs import graphs_of
from leanformer.profile.subject import find_subject
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.session import Session
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.checkpoint import Trained
from leanformer.train.recipe import Recipe

CLIP = Path(__file__).parent / "data" / "clips" / "096040001.opus"
SECONDS = 2.3
CHUNK, LEFT = 16, 64  # 640 ms
TOLERANCE = 1e-3


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """Threads would only wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def speech() -> Tensor:
    """Log-mel features (1, T, 80) of a real recording, of which T is no multiple of anything."""
    (clip,) = read_clips([CLIP], FeatureSpec())
    return torch.from_numpy(clip.features[: round(100 * SECONDS) + 1])[None]


def build(name: str, speech: Tensor, **changes: Any) -> SpeechModel:
    """A preset with weights and statistics that make a small mistake show."""
    torch.manual_seed(0)
    model = SpeechModel(preset(name).config.model_copy(update=changes)).eval()
    with torch.no_grad():
        model.feature_mean.copy_(speech.mean(dim=(0, 1)))
        model.feature_std.copy_(speech.std(dim=(0, 1)))
        for module in model.modules():
            if isinstance(module, BatchNorm):
                module.mean.normal_(std=0.2)
                module.variance.uniform_(0.5, 2.0)
            if isinstance(module, SecondPass):
                nn.init.normal_(module.future.weights, std=0.2)
    return model


@torch.no_grad()
def offline(model: SpeechModel, speech: Tensor) -> list[Tensor]:
    """Log-probabilities (T', V) of each pass, of the whole recording at once."""
    lengths = torch.tensor([speech.shape[1]])
    found = model.train_outputs(model.normalize(speech), lengths, Context(CHUNK, LEFT))
    return [found.log_probs[0]] if found.second is None else [found.log_probs[0], found.second[0]]


@torch.no_grad()
def streamed(model: SpeechModel, speech: Tensor) -> list[Tensor]:
    """The same in steps of a chunk, and what is left at the end."""
    state = model.initial_state(1, Context(CHUNK, LEFT))
    second = model.second and model.second.initial_state(1)
    found: list[list[Tensor]] = [[], []]
    for piece in speech.split(CHUNK * model.config.encoder.subsampling.factor, dim=1):
        encoded, lengths, state = model.encode(piece, torch.tensor([piece.shape[1]]), state)
        found[0].append(model.log_probs(encoded)[0, : lengths[0]])
        if model.second is not None:
            given, ready, second = model.second(encoded, lengths, second)
            found[1].append(model.log_probs(given)[0, : ready[0]])
    if model.second is not None:
        rest, ready = model.second.finish(second)
        found[1].append(model.log_probs(rest)[0, : ready[0]])
    return [torch.cat(parts) for parts in found if parts]


def assert_alike(found: list[Tensor], expected: list[Tensor]) -> None:
    assert [one.shape for one in found] == [one.shape for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).abs().max()) < TOLERANCE


@pytest.mark.parametrize("name", [name for name in names() if not name.endswith("paper")])
def test_streams_as_offline_and_fuses(name: str, speech: Tensor) -> None:
    model = build(name, speech)
    expected = offline(model, speech)
    assert len(expected) == len([one for one in (model.encoder, model.second) if one is not None])
    assert_alike(streamed(model, speech), expected)
    if model.config.encoder.norm == "batch":
        fused = fuse(model)
        assert not any(isinstance(module, BatchNorm) for module in fused.modules())
        assert_alike(streamed(fused, speech), expected)


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_exports_and_reloads(
    technique: str, speech: Tensor, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of random weights, two labels are often nearly as good, and int8 may take the other.
    monkeypatch.setattr(verify, "INT8_AGREEMENT", 0.5)
    name = f"{technique}-tiny"
    model = build(name, speech, vocabulary_size=len(tokenizer))
    target = tmp_path / name
    export(Trained(model, Recipe(name=name, model=model.config), tokenizer, 1), target, Settings(), [CLIP])
    bundle = Bundle.open(target)
    assert_alike(reloaded(bundle, model, speech), offline(model, speech))
    # What `leanformer profile` measures are the bundle's own graphs.
    graphs = graphs_of(find_subject(str(target)), 640, LEFT, tell=pytest.fail)
    passes = ("first", "second")[: len(graphs)]
    assert len(passes) == (1 if model.second is None else 2)
    for one, which in zip(graphs, passes, strict=True):
        assert one.int8 == bundle.graph_path("int8", which).read_bytes()


def reloaded(bundle: Bundle, model: SpeechModel, speech: Tensor) -> list[Tensor]:
    """Log-probabilities (T', V) of each pass from the fp32 graphs of a bundle, chunk by chunk."""
    first = Session(bundle, "fp32")
    frames = CHUNK * model.config.encoder.subsampling.factor
    step: Callable[..., Any] = first.step if model.second is None else first.step_encoded
    found, read, state = [], [], first.initial_state()
    for piece in speech.split(frames, dim=1):
        padded = np.zeros((1, frames, piece.shape[2]), np.float32)
        padded[:, : piece.shape[1]] = piece
        log_probs, *encoded, valid, state = step(padded, np.array([piece.shape[1]]), state)
        found.append(log_probs[0, : valid[0]])
        read += [one[0, : valid[0]] for one in encoded]
    given = [torch.from_numpy(np.concatenate(found))]
    return given if model.second is None else [*given, second_reloaded(bundle, np.concatenate(read))]


def second_reloaded(bundle: Bundle, frames: np.ndarray) -> Tensor:
    """The second pass of (T', D) frames, chunk by chunk; what comes after the end is silent."""
    part = bundle.second
    session = Session(bundle, "fp32", which="second")
    found, state = [], session.initial_state()
    for start in range(0, len(frames), part.chunk_frames):
        seen = frames[start : start + part.chunk_frames + part.lookahead_frames]
        padded = np.zeros((1, part.chunk_frames + part.lookahead_frames, frames.shape[1]), np.float32)
        padded[0, : len(seen)] = seen
        log_probs, valid, state = session.step(padded, np.array([len(seen)]), state)
        found.append(log_probs[0, : valid[0]])
    return torch.from_numpy(np.concatenate(found))
