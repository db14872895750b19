"""The study at toy size: the five recordings of tests/data, stages of one step each, every command in this process."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from leanformer.cli.app import main
from leanformer.data.phones import PHONES

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
TOY = (
    "model.phone_head.depth=1",
    "corpora.train_split=dev",
    "tokenizer={ kind = 'char', vocabulary_size = 30 }",
    "batch={ batch_seconds = 8.0, buckets = 2 }",
    "augment.speeds=[1.0]",
    "optimizer.warmup_steps=1",
    "optimizer.decay_steps=1",
    "optimizer.restarts=[]",
    "objective.ctc_start_step=2",
    "objective.ctc_ramp_steps=0",
    "text.start_step=1",
    "text.alone_steps=1",
    "text.placed_steps=1",
    "text.rows=2",
    "text.frames=60",
    "schedule={ max_steps = 3, dev_every_steps = 3, checkpoint_minutes = 0.0 }",
)
"""A step of phones, one of text, one of all together; for every row alike."""


def toy_sets(folder: Path) -> tuple[str, ...]:
    """Changes that make any row a toy; `folder` gets what they read."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [line.split("\t") for line in (DATA / "utterances.tsv").read_text().splitlines()[1:]]
    # Every phone in turn, 60 ms each: not what is said, but enough for text injection, which needs all of them.
    spoken = [[name, 6 * place, 6] for place, name in enumerate(PHONES)]
    aligned = [json.dumps({"id": f"{DATA.name}/{row[0]}", "phones": spoken}) for row in rows]
    (folder / "aligned.jsonl").write_text("\n".join(aligned))
    (folder / "text.txt").write_text("the cat sat on the mat\na dog ran to the red house\n" * 5)
    return (
        *TOY,
        f"corpora.alignments=['{folder / 'aligned.jsonl'}']",
        f"text.files=['{folder / 'text.txt'}']",
    )


def run_here(command: Sequence[str]) -> int:
    """`leanformer ...` in this process, which has torch already."""
    return main(command[command.index("leanformer") + 1 :])


@pytest.fixture(scope="session")
def study() -> Iterator[ModuleType]:
    """The command, with the modules beside it."""
    path = ROOT / "benchmarks" / "study"
    sys.path.insert(0, str(path.parent))
    loader = importlib.machinery.SourceFileLoader("study", str(path))
    spec = importlib.util.spec_from_loader("study", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    module.run_apart = sys.modules["side_by_side"]._exit_code  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["side_by_side"], "_exit_code", run_here)
        yield module
    sys.path.remove(str(path.parent))


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Changes that make any row a toy."""
    return toy_sets(tmp_path_factory.mktemp("toys"))


@pytest.fixture
def command(
    study: ModuleType, toys: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Runs the study's command at toy size; page and all else in `tmp_path`."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*arguments: str, sets: tuple[str, ...] = ()) -> int:
        fixed = [
            "--folder",
            str(tmp_path / "study"),
            "--data",
            str(DATA),
            "--page",
            str(tmp_path / "study.md"),
        ]
        code: int = study.main([*fixed, "--size", "tiny", "--rounds", "2", *arguments, "--set", *toys, *sets])
        return code

    return run
