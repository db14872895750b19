"""A model of two passes, from torch to a bundle to text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch

from leanformer.audio.load import load_audio
from leanformer.config import ModelConfig
from leanformer.config_toml import from_dict, load_toml
from leanformer.decoder.ctc import GreedySearch
from leanformer.errors import ExportError
from leanformer.export import recover, verify
from leanformer.export.export import Exported, Settings, export
from leanformer.export.graph import export_step
from leanformer.export.speech import read_clips
from leanformer.export.steps import SecondStep, StatefulStep, Step
from leanformer.export.verify import require_passed, step_checks
from leanformer.export.verify_second import Sessions, verify_second_fp32
from leanformer.features.spec import FeatureSpec
from leanformer.layers.normalization import BatchNorm
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.manifest import read_manifest
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.session import Session
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.checkpoint import Trained
from leanformer.train.initial import read_initial
from leanformer.train.recipe import Recipe

from .conftest import DATA, LEFT

CHUNK, LOOKAHEAD, CHUNK_MS = 4, 3, 640
CLIPS = sorted(DATA.glob("*.opus"))[:2]
# Fewer nodes, and so less time to export.
LOCAL = {"order": ["conv"], "kernel_size": 3}
BLOCK = {"order": ["attention", "conv"], "kernel_size": 3, "attention": {"heads": 2}}
ENCODER = {"model_dim": 16, "subsampling": {"factor": 8, "channels": 4}, "blocks": [LOCAL]}
SECOND = {"blocks": [BLOCK], "chunk_size": CHUNK, "lookahead": LOOKAHEAD, "left_context": 6}
FUSIBLE = {"norm": "batch", "norm_per_depth": True, "activation": "relu", "conv_gate": "none"}
SHARED = {"blocks": [LOCAL], "layer_map": [0, 0], "chunk_size": CHUNK, "lookahead": LOOKAHEAD}


@dataclass(frozen=True)
class Run:
    """What was exported, and what came out."""

    trained: Trained
    bundle: Path
    made: Exported

    @property
    def second(self) -> SecondStep:
        return SecondStep(self.trained.model)


@torch.no_grad()
def made_of(tokenizer: Tokenizer, encoder: dict[str, Any], second: dict[str, Any]) -> Trained:
    """A model whose every number tells in its output."""
    model = {"vocabulary_size": len(tokenizer), "encoder": {**ENCODER, **encoder}, "second": second}
    recipe = from_dict(Recipe, {"name": "two", "model": model, "context": {"dev_left_context": LEFT}}, "two")
    torch.manual_seed(3)
    made = SpeechModel(recipe.model)
    made.feature_mean.fill_(12.0)
    made.feature_std.fill_(4.0)
    for parameter in made.parameters():
        parameter.add_(0.01 * torch.randn_like(parameter))
    for module in made.modules():
        if isinstance(module, BatchNorm):
            module.mean.normal_()
            module.variance.uniform_(0.5, 2.0)
    assert made.second is not None
    assert made.second.future.weights is not None
    made.second.future.weights.normal_(0.0, 0.5)
    made.output.weight.mul_(8.0)  # few frames where two labels are nearly equal
    trained = Trained(made.eval(), recipe, tokenizer, 7)
    made.output.bias.sub_(
        made.output(encoded(trained, CLIPS[0], 8)[1]).mean(dim=(0, 1))
    )  # all labels have a chance
    return trained


@pytest.fixture(scope="module")
def run(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    trained = made_of(tokenizer, {}, SECOND)
    folder = tmp_path_factory.mktemp("two") / "bundle"
    return Run(trained, folder, export(trained, folder, speech=CLIPS))


@pytest.fixture(scope="module")
def sessions(run: Run) -> Sessions:
    return both(run.bundle)


def both(folder: Path) -> Sessions:
    opened = Bundle.open(folder)
    return Sessions(Session(opened, "fp32"), Session(opened, "fp32", which="second"))


@torch.no_grad()
def encoded(trained: Trained, path: Path, chunk: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What torch's passes give for a whole recording, (1, T', D) each."""
    (clip,) = read_clips([path], FeatureSpec())
    features, model = torch.from_numpy(clip.features)[None], trained.model
    state = model.initial_state(1, Context(chunk, LEFT))
    first, lengths, _ = model.encode(features, torch.tensor([features.shape[1]]), state)
    assert model.second is not None
    return first, model.second.whole(first, lengths, model.second.context)


@torch.no_grad()
def offline(trained: Trained, path: Path, chunk: int) -> tuple[str, str]:
    """The text of torch's passes over a whole recording, without spaces."""
    search, texts = GreedySearch(), []
    for frames in encoded(trained, path, chunk):
        log_probs = trained.model.log_probs(frames)[0].numpy()
        best = search.hypothesis(search.step(search.initial_state(), log_probs))
        texts.append(trained.tokenizer.decode(best.tokens).replace(" ", ""))
    return texts[0], texts[1]


def pieces(samples: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    while len(samples):
        size = int(rng.integers(1, 20_000))
        yield samples[:size]
        samples = samples[size:]


@pytest.mark.parametrize(("chunk_ms", "seed"), [(80, 0), (640, 1), (640, 2), (1280, 3)])
@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem)
def test_the_runtime_hears_what_torch_hears_offline(run: Run, path: Path, chunk_ms: int, seed: int) -> None:
    recognizer = Recognizer.load(run.bundle, precision="fp32", chunk_ms=chunk_ms)
    first, second = offline(run.trained, path, chunk_ms // 80)
    assert min(len(first), len(second)) > 4
    assert first != second
    stream, alone = recognizer.stream(), recognizer.stream(first_pass_only=True)
    for piece in pieces(load_audio(path), seed):
        stream.accept_waveform(piece, 16_000)
        alone.accept_waveform(piece, 16_000)
    assert stream.finish().text.replace(" ", "") == second
    assert alone.finish().text.replace(" ", "") == first


def test_both_passes_are_verified(run: Run) -> None:
    found = {check.key: check.value for check in run.made.checks}
    for key in ("fp32_max", "fp32_state_max", "offline_max", "int8_mean"):
        assert found[key] > 0.0
        assert found[f"second_{key}"] > 0.0
    assert found["second_fp32_max"] < 1e-4
    assert found["second_offline_max"] < 1e-4
    assert found["second_int8_agreement"] >= 0.95
    titles = [check.title for check in run.made.checks]
    assert "second pass: torch offline - fp32 graph streaming, largest" in titles


def test_the_manifest_says_what_a_runtime_needs_of_the_second_pass(run: Run) -> None:
    manifest = json.loads((run.bundle / "manifest.json").read_text())
    assert manifest["version"] == 1
    assert manifest["outputs"] == ["log_probs", "log_prob_lengths", "encoder_out"]
    second = manifest["second"]
    assert (second["chunk_frames"], second["lookahead_frames"]) == (CHUNK, LOOKAHEAD)
    assert second["graphs"] == {kind: {"file": f"second.{kind}.onnx"} for kind in ("int8", "fp32")}
    assert second["inputs"]["frames"]["shape"] == ["batch", "frames + lookahead", 16]
    assert {tuple(tensor["shape"]) for tensor in second["state"]} >= {("batch", 6, 16), ("batch",)}
    assert read_manifest(run.bundle).second is not None
    assert "| second pass | 1 layers, chunks of 320 ms, and 240 ms of lookahead |" in (
        (run.bundle / "MODEL_CARD.md").read_text()
    )


def test_both_passes_count_and_are_quantised(run: Run) -> None:
    for kind in ("fp32", "int8"):
        files = [run.bundle / f"{name}.{kind}.onnx" for name in ("model", "second")]
        assert run.made.sizes[kind] == sum(file.stat().st_size for file in files)
    second = onnx.load(run.bundle / "second.int8.onnx")
    kinds = [node.op_type for node in second.graph.node]
    assert kinds.count("MatMulInteger") >= 4
    assert all(
        len(tensor.dims) != 3 for tensor in second.graph.initializer
    )  # fast kernels: none over time alone


@pytest.mark.parametrize("rows", [[19], [7, 40, 0], [CHUNK, CHUNK + LOOKAHEAD, 1, 2 * CHUNK]])
def test_the_second_graph_equals_torch_at_any_lengths(run: Run, sessions: Sessions, rows: list[int]) -> None:
    rng = np.random.default_rng(1)
    frames = [rng.standard_normal((length, 16)).astype(np.float32) for length in rows]
    for size in (CHUNK, 1 if len(rows) == 1 else CHUNK):  # a graph takes any number of frames up to a chunk
        require_passed(step_checks(run.second, sessions.second, frames, size, LOOKAHEAD))


def test_what_follows_the_last_frame_is_not_heard(run: Run, sessions: Sessions) -> None:
    frames = np.random.default_rng(1).standard_normal((1, CHUNK + LOOKAHEAD, 16)).astype(np.float32)
    lengths, state = np.array([CHUNK + 1]), sessions.second.initial_state()
    clean = sessions.second.step(frames, lengths, state)
    heard = sessions.second.step(frames, lengths + 1, state)[0]
    frames[:, CHUNK + 1 :] = np.nan
    dirty = sessions.second.step(frames, lengths, state)
    np.testing.assert_array_equal(clean[0], dirty[0])
    assert np.abs(clean[0] - heard).max() > 0.01


def test_weights_that_are_a_little_off_fail(run: Run, tmp_path: Path, rehash: Callable[[Path], None]) -> None:
    folder = shutil.copytree(run.bundle, tmp_path / "wrong")
    graph = onnx.load(folder / "second.fp32.onnx")
    weight = next(t for t in graph.graph.initializer if list(t.dims) == [16, 48])
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.01, weight.name))
    onnx.save(graph, folder / "second.fp32.onnx")
    rehash(folder)
    step = Step(run.trained.model, Context(128, LEFT))
    clips = read_clips(CLIPS[:1], FeatureSpec())
    checks = verify_second_fp32(step, run.second, both(folder), clips, CHUNK_MS // 10)
    assert {check.key for check in checks if not check.passed} >= {"second_fp32_max", "second_offline_max"}
    with pytest.raises(ExportError, match="second pass: torch - fp32 graph, largest difference"):
        require_passed(checks)


def test_a_bundle_of_two_passes_gives_back_its_weights(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    traced: dict[type, onnx.ModelProto] = {}

    def once(step: StatefulStep) -> onnx.ModelProto:
        """Probes are alike every time."""
        traced.setdefault(type(step), traced.get(type(step)) or export_step(step))
        return traced[type(step)]

    monkeypatch.setattr(recover, "export_step", once)
    expected = {
        name: value for name, value in run.trained.model.state_dict().items() if value.is_floating_point()
    }
    found = read_initial(run.bundle).weights
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())

    first, second = (onnx.load(run.bundle / f"{name}.int8.onnx") for name in ("model", "second"))
    config, context = run.trained.recipe.model, Context(128, LEFT)
    found = recover.recover_weights(first, config, context, second)
    assert found.keys() == expected.keys()
    rounded = {name for name, value in found.items() if not torch.equal(value, expected[name])}
    assert any(name.startswith("second.layers.") for name in rounded)
    for name in rounded:
        largest = expected[name].abs().amax(dim=1, keepdim=True)  # of each output channel
        assert ((found[name] - expected[name]).abs() <= largest / 126).all(), name
    alone = recover.recover_weights(first, config, context)
    assert alone.keys() == {name for name in expected if not name.startswith("second.")}


def test_a_fused_model_streams_as_it_did_with_its_norms(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks of the export compare with the model as it was."""
    monkeypatch.setattr(verify, "INT8_AGREEMENT", 0.5)  # of random weights; not what this is about
    trained = made_of(tokenizer, FUSIBLE, SHARED)
    made = export(trained, tmp_path / "bundle", Settings(keep_fp32=False), speech=CLIPS[:1])
    assert not list((tmp_path / "bundle").glob("*.fp32.onnx"))
    assert made.sizes.keys() == {"int8"}
    found = {check.key: check.value for check in made.checks}
    assert 0.0 < found["second_offline_max"] < 1e-3
    assert 0.0 < found["second_fp32_max"] < 1e-3
    graph = onnx.load(tmp_path / "bundle" / "second.int8.onnx")
    assert not [node for node in graph.graph.node if "Norm" in node.op_type]
    stored = load_toml(Recipe, tmp_path / "bundle" / "config.toml").model
    assert stored.second is not None
    assert (stored.second.layer_map, len(stored.second.blocks)) == ((0, 1), 2)
    SpeechModel(stored)
    assert Recognizer.load(tmp_path / "bundle").transcribe(CLIPS[0]).text


def test_a_model_of_one_pass_has_no_second_step(run: Run) -> None:
    config = ModelConfig.model_validate({**dict(run.trained.recipe.model), "second": None})
    with pytest.raises(ExportError, match="no second pass"):
        SecondStep(replace(run.trained, model=SpeechModel(config)).model)
