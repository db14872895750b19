"""A model with a transducer, and CTC, and two passes, from torch to a bundle to text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leanformer.audio.load import load_audio
from leanformer.config_toml import from_dict
from leanformer.decoder.language_model_file import Header, pieces_hash
from leanformer.decoder.transducer import TransducerGreedySearch
from leanformer.decoder.transducer_beam import TransducerBeamSearch
from leanformer.errors import BundleError, ConfigError
from leanformer.export.export import export
from leanformer.export.speech import read_clips
from leanformer.features.spec import FeatureSpec
from leanformer.layers.streaming import Context
from leanformer.lm.build import build
from leanformer.model import SpeechModel
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.language_model import Fusion
from leanformer.runtime.manifest import read_manifest
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.transducer import load_transducer
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.checkpoint import Trained
from leanformer.train.dev_errors import as_search
from leanformer.train.recipe import Recipe

from .conftest import DATA, LEFT

CLIPS = sorted(DATA.glob("*.opus"))[:2]
LOCAL = {"order": ["conv"], "kernel_size": 3}
ENCODER = {"model_dim": 16, "subsampling": {"factor": 8, "channels": 4}, "blocks": [LOCAL]}
SECOND = {"blocks": [LOCAL], "chunk_size": 4, "lookahead": 2}
SIZES = {"predictor_dim": 8, "joint_dim": 8}
CHUNK_MS = 640


@torch.no_grad()
def made_of(tokenizer: Tokenizer, transducer: dict[str, Any], second: bool, **objective: float) -> Trained:
    """A model that says much, and not always the same."""
    model = {"vocabulary_size": len(tokenizer), "encoder": ENCODER, "transducer": {**SIZES, **transducer}}
    values = {"name": "two", "model": model | ({"second": SECOND} if second else {}), "objective": objective}
    recipe = from_dict(Recipe, {**values, "context": {"dev_left_context": LEFT}}, "two")
    torch.manual_seed(5)
    made = SpeechModel(recipe.model).eval()
    made.feature_mean.fill_(12.0)
    made.feature_std.fill_(4.0)
    assert made.transducer is not None
    joiner = made.transducer.joiner
    joiner.encoder_projection.weight.mul_(6.0)
    joiner.output.weight.mul_(3.0)
    trained = Trained(made, recipe, tokenizer, 7)
    frames = joiner.project_encoder(encoded(trained, CLIPS[0]))
    predictor = made.transducer.predictor
    said, _ = predictor(torch.arange(len(tokenizer))[:, None], predictor.initial_state(len(tokenizer)))
    logits = joiner(frames[0, :, None], joiner.project_predictor(said[:, 0]))
    joiner.output.bias.sub_(logits.mean(dim=(0, 1)))  # all labels have a chance
    return trained


@torch.no_grad()
def encoded(trained: Trained, path: Path) -> torch.Tensor:
    """What torch's last pass gives for a whole recording, (1, T', D)."""
    (clip,) = read_clips([path], FeatureSpec())
    features, model = torch.from_numpy(clip.features)[None], trained.model
    state = model.initial_state(1, Context(CHUNK_MS // 80, LEFT))
    frames, lengths, _ = model.encode(features, torch.tensor([features.shape[1]]), state)
    return frames if model.second is None else model.second.whole(frames, lengths, model.second.context)


@torch.no_grad()
def spoken(trained: Trained, path: Path, beam: int = 1) -> str:
    """What torch makes of a whole recording."""
    model = trained.model
    assert model.transducer is not None
    searched = as_search(model.transducer)
    search: Any = TransducerGreedySearch(searched) if beam == 1 else TransducerBeamSearch(searched, beam)
    state = search.step(search.initial_state(), encoded(trained, path)[0].numpy())
    return letters(trained.tokenizer.decode(list(search.hypothesis(state).tokens)))


def letters(text: str) -> str:
    """Without spaces: a pause within a word ends a segment, and so makes two words of it."""
    return text.replace(" ", "")


@pytest.fixture(scope="module")
def both(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """CTC and a transducer, over two passes."""
    trained = made_of(tokenizer, {}, second=True)
    folder = tmp_path_factory.mktemp("both") / "bundle"
    checks = {check.key for check in export(trained, folder, speech=CLIPS).checks}
    assert {"fp32_max", "second_fp32_max", "transducer_max"} <= checks
    return trained, folder


@pytest.fixture(scope="module")
def alone(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """An LSTM transducer over one pass, and no CTC."""
    trained = made_of(
        tokenizer, {"predictor": "lstm", "factorization": "softmax"}, second=False, ctc_weight=0.0
    )
    folder = tmp_path_factory.mktemp("alone") / "bundle"
    export(trained, folder, speech=CLIPS)
    return trained, folder


def transcribed(bundle: Path, path: Path, **options: Any) -> str:
    recognizer = Recognizer.load(bundle, precision="fp32", chunk_ms=CHUNK_MS, **options)
    return letters(recognizer.transcribe(path).text)


@pytest.mark.parametrize("beam", [1, 3])
def test_the_bundle_says_what_torch_says(both: tuple[Trained, Path], beam: int) -> None:
    trained, bundle = both
    for clip in CLIPS:
        expected = spoken(trained, clip, beam)
        assert len(expected) > 5
        assert transcribed(bundle, clip, decoder="transducer", beam=beam) == expected


def test_the_bundle_says_which_decoders_it_holds(
    both: tuple[Trained, Path], alone: tuple[Trained, Path]
) -> None:
    assert read_manifest(both[1]).decoders == ("ctc", "transducer")
    assert read_manifest(alone[1]).decoders == ("transducer",)


def test_ctc_is_the_default_where_there_are_both(both: tuple[Trained, Path]) -> None:
    _, bundle = both
    assert transcribed(bundle, CLIPS[0]) == transcribed(bundle, CLIPS[0], decoder="ctc")
    assert transcribed(bundle, CLIPS[0]) != transcribed(bundle, CLIPS[0], decoder="transducer")


def test_a_transducer_alone_is_its_own_default(alone: tuple[Trained, Path]) -> None:
    trained, bundle = alone
    expected = spoken(trained, CLIPS[0])
    assert len(expected) > 5
    assert transcribed(bundle, CLIPS[0]) == expected
    with pytest.raises(BundleError, match="no decoder 'ctc'; this bundle has transducer"):
        transcribed(bundle, CLIPS[0], decoder="ctc")


def test_text_does_not_depend_on_the_pieces(both: tuple[Trained, Path]) -> None:
    _, bundle = both
    recognizer = Recognizer.load(bundle, precision="fp32", decoder="transducer")
    samples = load_audio(CLIPS[0])
    whole = recognizer.transcribe(samples).text
    generator, stream = np.random.default_rng(1), recognizer.stream()
    while len(samples):
        size = int(generator.integers(1, 20_000))
        stream.accept_waveform(samples[:size], 16_000)
        samples = samples[size:]
    assert stream.finish().text == whole


def test_hotwords_and_a_language_model_are_heard_by_a_transducer(
    both: tuple[Trained, Path], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    _, bundle = both
    beam: dict[str, Any] = {"decoder": "transducer", "beam": 4}
    plain, word = transcribed(bundle, CLIPS[0], **beam), "abba"
    assert transcribed(bundle, CLIPS[0], **beam, hotwords=[(word, 5.0)]).count(word) > plain.count(word)

    tokens = np.array(tokenizer.encode(f"{word} " * 60), np.uint16)
    header = Header(pieces_hash([tokenizer.piece(token) for token in range(len(tokenizer))]), 5.0, 4.0)
    lm = tmp_path / "word.lm"
    lm.write_bytes(build(tokens, len(tokenizer), 2, 100_000, header)[1])
    assert transcribed(bundle, CLIPS[0], **beam, lm=lm) != plain
    assert transcribed(bundle, CLIPS[0], **beam, lm=Fusion(lm, 0.0, 0.0)) == plain
    assert transcribed(bundle, CLIPS[0], **beam, lm=Fusion(lm, 0.0, 0.0, internal_weight=5.0)) != plain
    with pytest.raises(ConfigError, match="internal language model weight 5: CTC has none"):
        Recognizer.load(bundle, decoder="ctc", beam=4, lm=Fusion(lm, internal_weight=5.0))


def test_what_a_search_cannot_do_is_said(both: tuple[Trained, Path]) -> None:
    _, bundle = both
    with pytest.raises(ConfigError, match="hotwords need a beam search"):
        Recognizer.load(bundle, decoder="transducer", beam=1, hotwords=["abba"])
    with pytest.raises(ConfigError, match="language model needs a beam search"):
        Recognizer.load(bundle, decoder="transducer", beam=1, lm="default")


def test_a_bundle_without_a_transducer_says_so(bundle: Path) -> None:
    with pytest.raises(BundleError, match="no decoder 'transducer'; this bundle has ctc"):
        Recognizer.load(bundle, decoder="transducer")
    with pytest.raises(BundleError, match=r"trained with a \[model.transducer\]"):
        load_transducer(Bundle.open(bundle))


def test_a_manifest_that_promises_a_transducer_must_have_one(
    both: tuple[Trained, Path], tmp_path: Path
) -> None:
    values = json.loads((both[1] / "manifest.json").read_text())
    del values["transducer"]
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match="'decoders' is"):
        read_manifest(tmp_path)


def test_a_stateless_predictor_of_one_token_has_no_state(tokenizer: Tokenizer, tmp_path: Path) -> None:
    trained = made_of(tokenizer, {"context": 1}, second=False)
    export(trained, tmp_path / "bundle", speech=CLIPS[:1])
    assert read_manifest(tmp_path / "bundle").transducer is not None
    expected = spoken(trained, CLIPS[0], 2)
    assert transcribed(tmp_path / "bundle", CLIPS[0], decoder="transducer", beam=2) == expected
