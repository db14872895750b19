"""Beam search, language model and hotwords as the recogniser takes them, and what is said about wrong ones."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leanformer.decoder.language_model_file import Header, pieces_hash
from leanformer.decoder.search import Search
from leanformer.errors import ConfigError
from leanformer.lm.build import build
from leanformer.runtime.hotwords import read_hotwords
from leanformer.runtime.language_model import Fusion, language_model
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.searching import make_search, usual_search, with_hotwords
from leanformer.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def lm(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Says that after "a" there rather is "ma" than "ra"."""
    tokens = np.array(tokenizer.encode("a ma and a ma and a ra " * 20), np.uint16)
    header = Header(pieces_hash([tokenizer.piece(token) for token in range(len(tokenizer))]), 0.25, 0.5)
    path = tmp_path_factory.mktemp("lm") / "cat.lm"
    path.write_bytes(build(tokens, len(tokenizer), 3, 100_000, header)[1])
    return path


def test_a_beam_hears_what_the_greedy_search_does(bundle_folder: Path, speech: np.ndarray) -> None:
    # The counting bundle is sure of its tokens, so that both must agree, segments and their times as well.
    greedy = Recognizer.load(bundle_folder).transcribe(speech)
    assert len(greedy.segments) == 2
    assert Recognizer.load(bundle_folder, beam=4).transcribe(speech).words == greedy.words


def test_a_beam_does_not_depend_on_the_pieces(bundle_folder: Path, speech: np.ndarray, lm: Path) -> None:
    recognizer = Recognizer.load(bundle_folder, beam=4, lm=Fusion(lm, 20.0))
    stream = recognizer.stream()
    for start in range(0, len(speech), 1_777):
        stream.accept_waveform(speech[start : start + 1_777], 16_000)
    whole = recognizer.transcribe(speech)
    assert stream.finish() == whole
    assert whole.text != Recognizer.load(bundle_folder, beam=4).transcribe(speech).text


def doubtful(tokenizer: Tokenizer, one: str, other: str) -> np.ndarray:
    """Frames in which "a" is followed by one word or, a little less likely, by another; each a single token."""
    (first,), (second,), (a,) = (tokenizer.encode(word) for word in (one, other, "a"))
    frames = np.full((4, len(tokenizer)), 1e-4)
    frames[0, a] = frames[1, 0] = frames[3, 0] = 0.9
    frames[2, first], frames[2, second] = 0.5, 0.4
    return np.log(frames / frames.sum(axis=1, keepdims=True)).astype(np.float32)


def best_text(search: Search[Any], log_probs: np.ndarray, tokenizer: Tokenizer) -> str:
    return tokenizer.decode(search.hypothesis(search.step(search.initial_state(), log_probs)).tokens)


def test_hotwords_and_language_model_decide_where_the_sound_does_not(tokenizer: Tokenizer, lm: Path) -> None:
    log_probs = doubtful(tokenizer, "ra", "ma")
    plain, judged = make_search(tokenizer, 8), make_search(tokenizer, 8, Fusion(lm, 1.0, 1.0))
    told = with_hotwords(plain, ["MA!"], tokenizer)
    assert best_text(plain, log_probs, tokenizer) == "a ra"
    assert best_text(judged, log_probs, tokenizer) == "a ma"
    assert best_text(told, log_probs, tokenizer) == "a ma"


def test_weight_and_bonus_come_from_the_file(tokenizer: Tokenizer, lm: Path) -> None:
    stored, given = language_model(Fusion(lm), tokenizer), language_model(Fusion(lm, 0.75, 1.5), tokenizer)
    assert (stored.weight, stored.bonus) == (0.25, 0.5)
    assert (given.weight, given.bonus) == (0.75, 1.5)
    assert stored.rows(np.array([0]))[0, 5] * 3 == pytest.approx(given.rows(np.array([0]))[0, 5])


def test_hotwords_of_one_stream(bundle_folder: Path) -> None:
    recognizer = Recognizer.load(bundle_folder, beam=4)
    assert recognizer.stream(hotwords=["The hat", ("cat", 3.0)])
    with pytest.raises(ConfigError, match=r"hotword 'bézier 3'|hotword 'bezier 3'"):
        recognizer.stream(hotwords=["bézier 3"])
    with pytest.raises(ConfigError, match="not one string"):
        recognizer.stream(hotwords="the hat")


def test_what_a_greedy_search_cannot_do(bundle_folder: Path, lm: Path) -> None:
    with pytest.raises(ConfigError, match="hotwords need a beam search; add --beam 8"):
        Recognizer.load(bundle_folder).stream(hotwords=["the hat"])
    with pytest.raises(ConfigError, match="language model needs a beam search; add --beam 8"):
        Recognizer.load(bundle_folder, lm=lm, beam=1)
    with pytest.raises(ConfigError, match="beam of 0"):
        Recognizer.load(bundle_folder, beam=0)


@pytest.mark.parametrize(
    ("asked", "beam", "lm"),
    [
        ({"model": "default"}, 8, "default"),
        ({"model": "default", "beam": 4}, 4, "default"),
        ({"model": "default", "beam": 1}, 1, None),
        ({"model": "default", "lm": "none"}, 1, None),
        ({"model": "default", "lm": "none", "with_hotwords": True}, 8, None),
        ({"model": "default", "decoder": "transducer"}, 1, None),
        ({"model": "default", "lm": "mine.lm"}, 8, "mine.lm"),
        ({"model": "bundles/mine"}, 1, None),
        ({"model": "bundles/mine", "lm": "mine.lm"}, 8, "mine.lm"),
        ({"model": "bundles/mine", "with_hotwords": True}, 8, None),
        ({"model": "bundles/mine", "lm": "mine.lm", "beam": 1}, 1, "mine.lm"),
    ],
)
def test_what_is_searched_with_if_not_all_is_said(asked: dict[str, Any], beam: int, lm: str | None) -> None:
    assert usual_search(**asked) == (beam, lm)


def test_help_brings_its_beam(bundle_folder: Path, lm: Path) -> None:
    for helped in (
        Recognizer.load(bundle_folder, lm=lm),
        Recognizer.load(bundle_folder, hotwords=["the hat"]),
    ):
        assert helped.stream(hotwords=["cat"])  # which a greedy search would refuse


def test_a_hotword_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeff# names\n\nThe  Cat\nmat-hat\t2.5\n")
    assert read_hotwords(path, tokenizer) == [("the cat", 1.0), ("mat hat", 2.5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no hotwords in it"),
        ("# only this\n", "no hotwords in it"),
        ("the cat\nthe zebra 9\n", r"words\.txt, line 2: hotword 'the zebra 9': .*'9'"),
        ("\nthe cat\tmuch\n", "line 2: weight 'much'"),
        ("the cat\t-1", "line 1: .*above 0"),
        ("...\n", "line 1: hotword '' is empty"),
        (b"\xff\xfe\x00", "cannot read the hotwords"),
        (None, "cannot read the hotwords"),
    ],
)
def test_a_wrong_hotword_file(
    tokenizer: Tokenizer, tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=message):
        read_hotwords(path, tokenizer)


def test_fifty_thousand_hotwords_keep_up_with_speech(tokenizer: Tokenizer) -> None:
    letters = np.array(list("acehmnorst"))
    words = ["".join(letters[row]) for row in np.random.default_rng(0).integers(0, 10, (50_000, 12))]
    search = with_hotwords(make_search(tokenizer, 8), words, tokenizer)
    frames = np.random.default_rng(1).normal(0, 3, (100, len(tokenizer)))
    log_probs = (frames - np.log(np.exp(frames).sum(axis=1, keepdims=True))).astype(np.float32)
    begin = time.process_time()
    search.step(search.initial_state(), log_probs)
    assert time.process_time() - begin < 4 * 0.5  # of 4 s; alone on a processor it takes 0.05 s


def test_a_language_model_of_another_tokenizer(lm: Path) -> None:
    with pytest.raises(ConfigError, match="made for another model's word-pieces"):
        Recognizer.load(beam=8, lm=lm)


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "other", "version"])
def test_a_broken_language_model(lm: Path, tokenizer: Tokenizer, tmp_path: Path, harm: str) -> None:
    path, content = tmp_path / "x.lm", lm.read_bytes()
    if harm == "version":
        content = _with_version_2(content, tmp_path)
    elif harm == "other":
        np.savez(tmp_path / "x.npz", token=np.zeros(3))
        content = (tmp_path / "x.npz").read_bytes()
    if harm != "missing":
        path.write_bytes({"empty": b"", "cut": content[: len(content) // 2]}.get(harm, content))
    message = {"missing": "cannot read", "version": "version 2, but"}.get(harm, "not a language model")
    with pytest.raises(ConfigError, match=message):
        language_model(Fusion(path), tokenizer)


def _with_version_2(content: bytes, folder: Path) -> bytes:
    (folder / "a.npz").write_bytes(content)
    arrays = dict(np.load(folder / "a.npz"))
    header = arrays["header"].tobytes().replace(b'"version": 1', b'"version": 2')
    np.savez(folder / "b.npz", **(arrays | {"header": np.frombuffer(header, np.uint8)}))
    return (folder / "b.npz").read_bytes()
