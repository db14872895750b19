"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import leanformer
from leanformer import errors


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after running `code`."""
    show = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], check=True, capture_output=True, text=True
    )
    return set(run.stdout.split())


def test_all_is_sorted_and_every_name_exists() -> None:
    assert leanformer.__all__ == sorted(leanformer.__all__)
    for name in leanformer.__all__:
        assert getattr(leanformer, name).__name__ == name
    assert set(leanformer.__all__) <= set(dir(leanformer))


def test_all_has_every_error() -> None:
    family = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert family == {name for name in leanformer.__all__ if name.endswith("Error")}


def test_all_has_nothing_else() -> None:
    others = {name for name in leanformer.__all__ if not name.endswith("Error")}
    assert others == {"Batch", "Recognizer", "Segment", "Stream", "Transcript", "Word"}
    assert not hasattr(leanformer, "Tokenizer")


def test_import_loads_nothing_heavy() -> None:
    heavy = {"torch", "lightning", "lhotse", "numpy", "onnxruntime", "soundfile", "cyclopts", "rich"}
    assert not loaded_by("import leanformer; leanformer.LeanformerError") & heavy


def test_the_runtime_needs_the_core_only() -> None:
    # torch, and whatever else only comes with an extra
    extras = {"torch", "lightning", "lhotse", "pydantic", "onnx", "jiwer", "scipy"}
    everything = "import leanformer.cli.work, leanformer.cli.transcribe, leanformer.cli.app"
    assert not loaded_by(f"{everything}\nfrom leanformer import *\nRecognizer") & extras


def test_version() -> None:
    assert leanformer.__version__.count(".") == 2
