"""From text to words: `leanformer lm` and `tune`, and the options that use what they made."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from leanformer import Recognizer
from leanformer.cli.app import main
from leanformer.decoder.language_model_file import read

RATE = 16_000
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, speech: np.ndarray, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: text, a recording, hotwords, and a corpus of what the bundle hears in the recording."""
    heard = Recognizer.load(bundle_folder).transcribe(speech).text
    (tmp_path / "text.txt").write_text(f"the cat sat on the mat\n{heard}\n" * 30)
    (tmp_path / "words.txt").write_text("the cat\t2\n")
    (tmp_path / "one" / "clips").mkdir(parents=True)
    soundfile.write(tmp_path / "one" / "clips" / "a.wav", speech, RATE)
    columns = "id\tspeaker\tsplit\tpath\tseconds\ttext\n"
    (tmp_path / "one" / "utterances.tsv").write_text(f"{columns}a\ta\tdev\tclips/a.wav\t6.3\t{heard}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process; gives the exit code and what it wrote."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def test_a_language_model_is_built_tuned_and_used(folder: Path, run: Run, bundle_folder: Path) -> None:
    code, out, err = run("lm", "text.txt", "-o", "new/x.lm", "--order", "3", "--model", bundle_folder)
    assert code == 0
    assert "510 words" in err
    assert "n-grams" in out
    (_, before) = read("new/x.lm")
    assert before.tuned == ""

    code, out, err = run("tune", bundle_folder, "--lm", "new/x.lm", "--data", "one", "--beam", "4")
    assert code == 0
    (_, header) = read("new/x.lm")
    assert f"weight {header.weight:g}, bonus {header.bonus:g}; WER" in out
    assert header.tuned.startswith("counter int8, beam 4, 1 clips of split dev")
    tried = [line.split() for line in err.splitlines() if line.startswith("weight")]
    wer = [float(words[5].rstrip("%")) for words in tried]
    best = tried[wer.index(min(wer))]
    assert (float(best[1]), float(best[3])) == (pytest.approx(header.weight), pytest.approx(header.bonus))

    search = ("--beam", "4", "--lm", "new/x.lm")
    code, out, _ = run("transcribe", "one/clips/a.wav", "--no-endpoint", "--model", bundle_folder, *search)
    assert code == 0
    assert out == "".join(
        f"{segment.text}\n"
        for segment in Recognizer.load(bundle_folder, beam=4, lm="new/x.lm")
        .transcribe("one/clips/a.wav")
        .segments
    )
    code, out, _ = run(
        "evaluate", bundle_folder, "--data", "one", *search, "--lm-weight", "0.5", "--json", "r.json"
    )
    assert code == 0
    assert json.loads(Path("r.json").read_text())["search"] == "beam 4, language model new/x.lm, weight 0.5"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--beam", "1", "--hotwords", "words.txt"), 1, "hotwords need a beam search; add --beam 8"),
        (("--beam", "1", "--lm", "x.lm"), 1, "a language model needs a beam search; add --beam 8"),
        (("--lm", "x.lm"), 1, "x.lm: cannot read the language model"),
        (("--beam", "8", "--lm", "text.txt"), 1, "text.txt: not a language model"),
        (("--beam", "8", "--lm-weight", "1"), 2, "add --lm default"),
        (("--beam", "8", "--hotwords", "none.txt"), 1, "none.txt: cannot read the hotwords"),
        (
            ("--beam", "8", "--hotwords", "bad.txt"),
            1,
            "bad.txt, line 2: hotword 'area 51': this model cannot write",
        ),
        (("--beam", "0"), 2, "--beam"),
    ],
)
def test_wrong_options(
    folder: Path, run: Run, bundle_folder: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    (folder / "bad.txt").write_text("the cat\narea 51\n")
    found, out, err = run("transcribe", "one/clips/a.wav", "--model", bundle_folder, *options)
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.skipif(find_spec("flashlight") is None, reason="flashlight-text is not installed (extra lm)")
def test_a_language_model_of_words_is_tuned_and_used(folder: Path, run: Run, bundle_folder: Path) -> None:
    words = Path(__file__).parents[1] / "data" / "words.kenlm"
    (folder / "w.kenlm").write_bytes(words.read_bytes())
    code, out, _ = run("tune", bundle_folder, "--lm", "w.kenlm", "--data", "one", "--beam", "4")
    assert code == 0
    assert out.startswith("w.kenlm: weight ")
    _, use = out.rstrip().split("; use it with ")
    assert (folder / "w.kenlm").read_bytes() == words.read_bytes()
    options = ("--no-endpoint", "--model", bundle_folder, "--lm", "w.kenlm")
    code, out, err = run("transcribe", "one/clips/a.wav", *options, *use.split())
    assert (code, err) == (0, "")
    assert out


def test_hotwords_on_the_command_line(folder: Path, run: Run, bundle_folder: Path) -> None:
    options = ("--model", bundle_folder, "--beam", "4", "--hotwords", "words.txt")
    code, out, err = run("transcribe", "one/clips/a.wav", *options)
    assert (code, err) == (0, "")
    assert out


def test_wrong_text(folder: Path, run: Run, bundle_folder: Path) -> None:
    code, _, err = run("lm", "missing.txt", "-o", "x.lm", "--model", bundle_folder)
    assert code == 1
    assert "missing.txt: cannot be read as text" in err
    code, _, err = run("lm", "text.txt", "-o", "text.txt/x.lm", "--model", bundle_folder)
    assert code == 1
    assert "text.txt/x.lm: cannot be written" in err
