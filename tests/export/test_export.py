"""From a checkpoint to text: the export as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from leanformer.audio.load import load_audio
from leanformer.config_toml import load_toml
from leanformer.decoder.ctc import GreedySearch
from leanformer.errors import ExportError
from leanformer.export import export as export_module
from leanformer.export.export import Settings, export
from leanformer.export.speech import SAMPLE, read_clips
from leanformer.export.verify import Check
from leanformer.features.online import OnlineFbank
from leanformer.features.spec import FeatureSpec
from leanformer.layers.streaming import Context
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.session import Session
from leanformer.train.checkpoint import Trained
from leanformer.train.recipe import Recipe


def heard_by_torch(trained: Trained, features: torch.Tensor, context: Context) -> str:
    """What the model makes of features (1, T, D) in one step."""
    state = trained.model.initial_state(1, context)
    with torch.no_grad():
        log_probs, _, _ = trained.model(features, torch.tensor([features.shape[1]]), state)
    search = GreedySearch()
    best = search.hypothesis(search.step(search.initial_state(), log_probs[0].numpy()))
    text = trained.tokenizer.decode(best.tokens)
    assert text
    return text


@pytest.mark.parametrize("chunk_ms", [80, 640, 1280])
def test_the_runtime_hears_what_torch_hears_offline(bundle: Path, trained: Trained, chunk_ms: int) -> None:
    (clip,) = read_clips([SAMPLE], FeatureSpec())
    features = torch.from_numpy(clip.features)[None]
    expected = heard_by_torch(trained, features, Context(chunk_ms // 80, 5))

    stream = Recognizer.load(bundle, precision="fp32", chunk_ms=chunk_ms).stream()
    samples = load_audio(SAMPLE)
    rng = np.random.default_rng(1)
    while len(samples):
        size = int(rng.integers(1, 20_000))
        stream.accept_waveform(samples[:size], 16_000)
        samples = samples[size:]
    # Segments are joined by a space, even where the model began no new word.
    assert stream.finish().text.replace(" ", "") == expected.replace(" ", "")


def test_a_longer_chunk_hears_a_long_recording_in_full_context(trained: Trained, tmp_path: Path) -> None:
    export(trained, tmp_path / "bundle", Settings(max_chunk_ms=40_960))
    samples = np.tile(load_audio(SAMPLE), 2)
    assert len(samples) > 16_000 * 10.24  # more than a chunk of usual bundles
    recognizer = Recognizer.load(tmp_path / "bundle", precision="fp32", chunk_ms=40_960)
    fbank = OnlineFbank(FeatureSpec())
    fbank.accept(samples)
    fbank.finish()
    features = torch.from_numpy(fbank.pop())[None]
    expected = heard_by_torch(trained, features, Context(features.shape[1], 5))
    assert recognizer.transcribe(samples).text.replace(" ", "") == expected.replace(" ", "")


def test_settings_are_taken(trained: Trained, tmp_path: Path, without_tracing: None) -> None:
    said: list[str] = []
    settings = Settings(
        name="small",
        chunk_ms=320,
        keep_fp32=False,
        licence="CC-BY-4.0",
        licence_notes="Thanks to all readers.\n",
        notes="## Trained on\n\nWhispers.\n",
    )
    made = export(trained, tmp_path / "bundle", settings, tell=said.append)
    opened = Bundle.open(tmp_path / "bundle")
    manifest = opened.manifest
    assert (manifest.name, manifest.default_chunk_ms, manifest.licence) == ("small", 320, "CC-BY-4.0")
    assert list(manifest.graphs) == ["int8"]
    assert not (tmp_path / "bundle" / "model.fp32.onnx").exists()
    assert (tmp_path / "bundle" / "LICENCE.md").read_text() == "Thanks to all readers.\n"
    assert Session(opened).precision == "int8"
    assert made.sizes == {"int8": (tmp_path / "bundle" / "model.int8.onnx").stat().st_size}
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    assert "Not measured yet" in card
    assert "## Trained on\n\nWhispers.\n\n## Checked at export" in card
    assert "What it cannot do" not in card
    assert len(said) == 3


def test_the_recipe_is_there_without_paths_of_the_machine(bundle: Path, recipe: Recipe) -> None:
    stored = load_toml(Recipe, bundle / "config.toml")
    assert stored.model == recipe.model
    assert stored.corpora.alignments == ("align.jsonl",)
    assert stored.tokenizer.path == "tokenizer.model"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(chunk_ms=600), "chunk of 600 ms: this model takes multiples of 80 ms, from 80 to 10240 ms"),
        (Settings(chunk_ms=20_480), "from 80 to 10240 ms"),
        (
            Settings(max_chunk_ms=320),
            "chunk of 640 ms: this model takes multiples of 80 ms, from 80 to 320 ms",
        ),
        (Settings(left_context=0), "left context of 0 frames"),
    ],
)
def test_settings_that_do_not_fit(trained: Trained, tmp_path: Path, settings: Settings, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        export(trained, tmp_path / "bundle", settings)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_fails_its_checks_writes_nothing(
    trained: Trained, tmp_path: Path, without_tracing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Check("int8_agreement", "best label", 0.5, at_least=0.95)
    monkeypatch.setattr(export_module, "verify_int8", lambda *arguments: [bad])
    with pytest.raises(ExportError, match=r"best label: 0\.5, must be at least 0\.95"):
        export(trained, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
    made = export(
        trained, tmp_path / "bundle", Settings(int8_agreement=0.4)
    )  # its loss is measured by someone else
    assert replace(bad, at_least=0.4) in made.checks


def test_a_model_of_other_weights_is_not_what_the_graph_says(
    trained: Trained, tmp_path: Path, without_tracing: None
) -> None:
    from leanformer.model import SpeechModel

    torch.manual_seed(4)
    other = replace(trained, model=SpeechModel(trained.recipe.model).eval())
    with pytest.raises(ExportError, match="the export does not do what the model does"):
        export(other, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
