"""One bundle for several depths: at each, it does what the model cut off there does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from leanformer.cli.app import main
from leanformer.compress.shallow import shallow
from leanformer.config_toml import load_toml
from leanformer.decoder.ctc import GreedySearch
from leanformer.errors import CompressError, ConfigError, ExportError
from leanformer.export import export as export_module
from leanformer.export.depths import cut_off
from leanformer.export.export import Settings, export
from leanformer.export.graph import Step, export_step
from leanformer.export.speech import SAMPLE, read_clips
from leanformer.features.spec import FeatureSpec
from leanformer.layers.streaming import Context
from leanformer.profile.subject import find_subject
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.session import Session
from leanformer.train.checkpoint import Trained
from leanformer.train.recipe import Recipe

DATA = Path(__file__).parents[1] / "data"
CHUNK = 64
"""Feature frames."""


@pytest.fixture(scope="module")
def graphs(trained: Trained, step: Step, graph: onnx.ModelProto) -> dict[int, onnx.ModelProto]:
    """The float32 graph of each depth; do not change them."""
    return {2: export_step(Step(cut_off(trained, 2).model, step.context)), 3: graph}


def take(patch: pytest.MonkeyPatch, graphs: dict[int, onnx.ModelProto]) -> None:
    """Exports take the graphs that are there already."""
    patch.setattr(export_module, "export_step", lambda step: graphs[step.model.config.encoder.depth])


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, graphs: dict[int, onnx.ModelProto]) -> None:
    take(monkeypatch, graphs)


@pytest.fixture(scope="module")
def deep(
    checkpoint: Path, graphs: dict[int, onnx.ModelProto], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle of depths 2 and 3, made by the command line."""
    folder = tmp_path_factory.mktemp("depths") / "deep"
    with pytest.MonkeyPatch.context() as patch:
        take(patch, graphs)
        assert main(["export", str(checkpoint), "-o", str(folder), "--depths", "3", "2"]) == 0
    return folder


@torch.no_grad()
def offline(trained: Trained, depth: int) -> np.ndarray:
    """Log-probabilities (T', V) of the sample by the model cut off, in one large step."""
    (clip,) = read_clips([SAMPLE], FeatureSpec())
    model, features = shallow(trained.model, depth), torch.from_numpy(clip.features)[None]
    state = model.initial_state(1, Context(CHUNK // 8, 5))
    found: np.ndarray = model(features, torch.tensor([features.shape[1]]), state)[0][0].numpy()
    return found


def streamed(session: Session) -> np.ndarray:
    """The same by a graph, chunk by chunk."""
    (clip,) = read_clips([SAMPLE], FeatureSpec())
    state, found = session.initial_state(), []
    for start in range(0, len(clip.features), CHUNK):
        piece = clip.features[start : start + CHUNK]
        padded = np.zeros((1, CHUNK, piece.shape[1]), np.float32)
        padded[0, : len(piece)] = piece
        log_probs, valid, state = session.step(padded, np.array([len(piece)]), state)
        found.append(log_probs[0, : valid[0]])
    return np.concatenate(found)


@pytest.mark.parametrize(("chosen", "depth"), [(2, 2), (3, 3), (None, 3)])
def test_a_stream_at_each_depth_is_the_model_cut_off_there(
    deep: Path, trained: Trained, chosen: int | None, depth: int
) -> None:
    expected = offline(trained, depth)
    session = Session(Bundle.open(deep).at_depth(chosen), "fp32")
    np.testing.assert_allclose(streamed(session), expected, atol=1e-4)
    # Or else this test could not tell one depth from another.
    assert abs(expected - offline(trained, 5 - depth)).max() > 0.1

    recognizer = Recognizer.load(deep, precision="fp32", depth=chosen, chunk_ms=10 * CHUNK)
    assert recognizer.name == ("tiny at depth 2 fp32" if depth == 2 else "tiny fp32")
    search = GreedySearch()
    tokens = search.hypothesis(search.step(search.initial_state(), expected)).tokens
    assert recognizer.transcribe(SAMPLE).text.replace(" ", "") == trained.tokenizer.decode(tokens).replace(
        " ", ""
    )


def test_a_lesser_depth_has_less_state_and_both_precisions(deep: Path) -> None:
    full, cut = Bundle.open(deep).manifest, Bundle.open(deep).at_depth(2).manifest
    assert [one.input for one in cut.state] == [
        one.input for one in full.state if "layers_2_" not in one.input
    ]
    assert len(cut.state) < len(full.state)
    assert sorted(full.graphs) == sorted(cut.graphs) == ["fp32", "int8"]
    found = streamed(Session(Bundle.open(deep).at_depth(2)))
    exact = streamed(Session(Bundle.open(deep).at_depth(2), "fp32"))
    assert 0.0 < abs(np.exp(found) - np.exp(exact)).max() < 0.2


def test_the_full_depth_is_what_it_is_without_others(deep: Path, bundle: Path) -> None:
    for name in ("model.fp32.onnx", "model.int8.onnx", "config.toml"):
        assert (deep / name).read_bytes() == (bundle / name).read_bytes()
    keys = [set(json.loads((one / "manifest.json").read_text())) for one in (deep, bundle)]
    assert keys[0] - keys[1] == {"shallow"}
    assert "depth 2: torch - fp32 graph, largest difference" in (deep / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (0, "depth 0: 'tiny' has layers 1 to 3, and runs at depth 2, 3; choose one of these"),
        (4, "has layers 1 to 3, and runs at depth 2, 3"),
        (1, "runs at depth 2, 3; choose one of these, or export the model again with --depths 1"),
    ],
)
def test_other_depths_are_refused(deep: Path, depth: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recognizer.load(deep, depth=depth)


def test_a_bundle_of_one_depth_has_no_other(bundle: Path) -> None:
    assert Recognizer.load(bundle, depth=3).name == "tiny int8"
    with pytest.raises(ConfigError, match=r"runs at depth 3; .* export the model again with --depths 2"):
        Recognizer.load(bundle, depth=2)


@pytest.mark.usefixtures("traced")
def test_the_deepest_is_the_model(trained: Trained, recipe: Recipe, tmp_path: Path) -> None:
    trainable = recipe.model_copy(
        update={"objective": recipe.objective.model_copy(update={"exit_weight": 0.3, "sample_depth": True})}
    )
    settings = Settings(depths=(2,), keep_fp32=False)
    export(replace(trained, recipe=trainable), tmp_path / "bundle", settings)
    manifest = Bundle.open(tmp_path / "bundle").manifest
    assert (manifest.depth, dict(manifest.shallow)) == (2, {})
    stored = load_toml(Recipe, tmp_path / "bundle" / "config.toml")
    assert stored.model == shallow(trained.model, 2).config


@pytest.mark.usefixtures("traced")
def test_float32_is_left_out_at_every_depth(trained: Trained, tmp_path: Path) -> None:
    made = export(trained, tmp_path / "bundle", Settings(depths=(2, 3), keep_fp32=False))
    assert sorted(path.name for path in (tmp_path / "bundle").glob("*.onnx")) == [
        "depth_2.int8.onnx",
        "model.int8.onnx",
    ]
    assert made.sizes == {"int8": (tmp_path / "bundle" / "model.int8.onnx").stat().st_size}


@pytest.mark.usefixtures("traced")
def test_a_depth_without_an_exit_is_refused_at_once(trained: Trained, tmp_path: Path) -> None:
    for depths in ((1,), (1, 3), (3, 9)):
        with pytest.raises(CompressError, match="outputs may be taken at 2, 3; name one of these"):
            export(trained, tmp_path / "bundle", Settings(depths=depths))


def test_a_lesser_depth_is_verified_too(
    trained: Trained,
    graphs: dict[int, onnx.ModelProto],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = onnx.ModelProto()
    wrong.CopyFrom(graphs[2])
    large = max(wrong.graph.initializer, key=lambda one: int(np.prod(one.dims)))
    large.CopyFrom(numpy_helper.from_array(1.5 * numpy_helper.to_array(large), large.name))
    take(monkeypatch, {**graphs, 2: wrong})
    with pytest.raises(ExportError, match="nothing was written: depth 2: torch - fp32 graph, largest"):
        export(trained, tmp_path / "bundle", Settings(depths=(2, 3)))


@pytest.mark.usefixtures("traced")
def test_a_depth_that_is_sure_of_no_label_is_exported_if_that_is_meant(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leanformer.export.verify.INT8_AGREEMENT", 1.1)
    with pytest.raises(ExportError, match="depth 2: fp32 = int8, best label"):
        export(trained, tmp_path / "bundle", Settings(depths=(2, 3)))
    export(trained, tmp_path / "bundle", Settings(depths=(2, 3), int8_agreement=0.0))
    assert "depth 2: fp32 = int8, best label" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()


def test_evaluate_compares_depths(
    deep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leanformer.profile.costs.ROUNDS", 2)
    target = tmp_path / "report.json"
    given = ["evaluate", str(deep), "--data", str(DATA), "--split", "all", "--limit", "2"]
    assert main([*given, "--depth", "3", "2", "--json", str(target)]) == 0
    found = json.loads(target.read_text())["depths"]
    assert list(found) == ["2", "3"]
    assert found["2"]["bundle"] == "tiny at depth 2"
    assert found["2"]["energy_mj_per_second"] < found["3"]["energy_mj_per_second"]
    assert min(one["step_ms_p50"] for one in found.values()) > 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows if len(row) == 8 and row[0].isdigit()] == ["2", "3"]
    assert main([*given, "--depth", "2"]) == 0
    assert "tiny at depth 2 int8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (lambda deep: ["transcribe", "--model", deep, "--depth", "1", str(SAMPLE)], 1, "runs at depth 2, 3;"),
        (lambda deep: ["evaluate", deep, "--depth", "1", "2"], 1, "depth 1: 'tiny' runs at depth 2, 3;"),
        (lambda deep: ["evaluate", deep, "--depth", "2", "3", "--confidence"], 2, "at one --depth at a time"),
        (lambda deep: ["profile", deep, "--depth", "7"], 1, "has layers 1 to 3"),
    ],
)
def test_bad_depths_are_one_clear_line(
    deep: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: Callable[[str], list[str]],
    code: int,
    message: str,
) -> None:
    assert main(arguments(str(deep))) == code
    said = capsys.readouterr().err
    assert said.startswith("leanformer: error: ")
    assert said.count("\n") == 1
    assert message in said


def test_transcribe_takes_a_depth(deep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["transcribe", "--model", str(deep), str(SAMPLE), "--no-endpoint"]
    texts = []
    for depth in ("2", "3"):
        assert main([*given, "--depth", depth]) == 0
        texts.append(capsys.readouterr().out.split())
    assert texts[0] == Recognizer.load(deep, depth=2).transcribe(SAMPLE).text.split()
    assert texts[0] != texts[1]


def test_a_profile_at_a_depth_takes_its_graphs(deep: Path) -> None:
    subject = find_subject(str(deep), 2)
    assert subject.config.encoder.depth == 2
    assert subject.graphs[0]["int8"] == deep / "depth_2.int8.onnx"
    assert find_subject(str(deep), 3).graphs[0]["int8"] == deep / "model.int8.onnx"
