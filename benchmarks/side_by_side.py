"""Models trained and measured by one protocol: what benchmarks of accuracy have in common.

    MODELS = [Model("conformer", ()), Model("practical", ("preset=practical-small",))]
    READINGS = [Reading("conformer", "conformer"), Reading("first pass", "practical", first_pass_only=True)]

Each model is trained (`leanformer train`, which resumes), exported and read out; what is there already is not done
again, so a benchmark may be stopped at any moment. All readings hear the same clips, so that the difference between
two has an interval of its own: a bootstrap over speakers, drawn alike for both.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import environment  # noqa: F401 - before whatever needs torch
import numpy as np
from kept import kept, key
from paired import Counted, gap, with_interval
from paired import difference as paired_difference

from leanformer.evaluate.corpus import read_clips
from leanformer.evaluate.evaluate import evaluate
from leanformer.evaluate.interval import resampling_units
from leanformer.export.bundle import FP32, INT8
from leanformer.runtime.recognizer import Recognizer

PROTOCOL = Path(__file__).parent / "protocol.toml"


@dataclass(frozen=True)
class Model:
    """What is trained: changes of the protocol, each as for `leanformer train --set`."""

    name: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """How a model is heard: at which chunk, in which precision, and with `options` of `Recognizer.load`."""

    name: str
    model: str
    chunk_ms: int = 640
    precision: str = INT8
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Score:
    """Errors and words of each clip, in the clips' order, and seconds of processing for a second of audio."""

    reading: Reading
    seed: int
    corpora: list[str]
    speakers: list[str]
    errors: list[int]
    words: list[int]
    rtf: float
    bundle_bytes: int

    def wer(self, corpus: str | None = None) -> float:
        """Word error rate in %, of one corpus or of all."""
        return self.counted(corpus).rate

    def interval(self, corpus: str | None = None) -> tuple[float, float] | None:
        """The 95 % interval of `wer`, over speakers."""
        return self.counted(corpus).interval

    @cached_property
    def units(self) -> np.ndarray:
        """Which clips are drawn together."""
        return resampling_units([f"{c}/{s}" for c, s in zip(self.corpora, self.speakers, strict=True)])[0]

    def counted(self, corpus: str | None = None) -> Counted:
        """Errors and words of the clips of one corpus, or of all."""
        chosen = np.array([corpus in (None, one) for one in self.corpora])
        return Counted.of(np.array(self.errors)[chosen], np.array(self.words)[chosen], self.units[chosen])


def difference(score: Score, base: Score, corpus: str | None = None) -> tuple[float, float, float]:
    """WER of `score` less that of `base` in %, and its 95 % interval: both are drawn with the same speakers."""
    return paired_difference(score.counted(corpus), base.counted(corpus))


class Failed(SystemExit):
    """A command that did not end well, with its exit code; nobody catching it, ours is the same."""


class Bench:
    """Trains, exports and reads out, each once; `folder` keeps all, `changes` hold for all models."""

    def __init__(
        self, folder: Path, data: Path, changes: Sequence[str] = (), protocol: Path = PROTOCOL
    ) -> None:
        self.folder = folder
        self.data = data
        self.changes = tuple(changes)
        self.protocol = protocol

    def read(self, models: Sequence[Model], readings: Sequence[Reading], seeds: Sequence[int]) -> list[Score]:
        """All scores, by reading and seed."""
        by_name = {model.name: model for model in models}
        return [self._score(by_name[one.model], one, seed) for seed in seeds for one in readings]

    def kept_score(self, model: Model, reading: Reading, seed: int) -> Path:
        """Where the score of a reading is kept, once there is one."""
        made_from = key(asdict(model), asdict(reading), self.changes, self.protocol.read_text(), seed)
        name = f"{reading.name}-{seed}-{made_from}.json".replace(" ", "-").replace("/", "-")
        return self.folder / "scores" / name

    def run_folder(self, model: Model, seed: int) -> Path:
        """Where a model is trained."""
        return self.folder / "runs" / self._kept_as(model, seed)

    def bundle_folder(self, model: Model, seed: int) -> Path:
        """Where a model's bundle is."""
        return self.folder / "bundles" / self._kept_as(model, seed)

    def _kept_as(self, model: Model, seed: int) -> str:
        return f"{model.name}-{seed}-{key(self._all_changes(model, seed), self.protocol.read_text())}"

    def _all_changes(self, model: Model, seed: int) -> tuple[str, ...]:
        return *self.changes, *model.changes, f"seed={seed}"

    def _score(self, model: Model, reading: Reading, seed: int) -> Score:
        def hear() -> dict[str, Any]:
            return asdict(self._hear(self.bundle(model, seed), reading, seed))

        values = kept(self.kept_score(model, reading, seed), hear)
        return Score(**{**values, "reading": reading})

    def _hear(self, bundle: Path, reading: Reading, seed: int) -> Score:
        print(f"reading {reading.name}, seed {seed}", file=sys.stderr)
        scored = evaluate(self.recognizer(reading, bundle), read_clips([self.data]).clips).scored
        return Score(
            reading,
            seed,
            [one.clip.corpus for one in scored],
            [one.clip.utterance.speaker for one in scored],
            [one.errors.word_errors for one in scored],
            [one.errors.words for one in scored],
            sum(one.busy_seconds for one in scored) / sum(one.audio_seconds for one in scored),
            sum(path.stat().st_size for path in bundle.glob(f"*.{reading.precision}.onnx")),
        )

    def recognizer(self, reading: Reading, bundle: Path) -> Recognizer:
        """What a reading hears with."""
        options = {"precision": reading.precision, "chunk_ms": reading.chunk_ms, **dict(reading.options)}
        return Recognizer.load(bundle, **options)

    def bundle(self, model: Model, seed: int) -> Path:
        """Train and export, as far as that has not been done."""
        bundle = self.bundle_folder(model, seed)
        if not (bundle / "manifest.json").exists():
            self._export(model, self._train(model, seed), bundle)
            assert (bundle / f"model.{FP32}.onnx").exists()
        return bundle

    def _train(self, model: Model, seed: int) -> Path:
        """Train, or go on where training was stopped; the run's folder."""
        run = self.run_folder(model, seed)
        more = ["--resume"] if (run / "recipe.toml").exists() else []
        self._call_train(model, seed, *more)
        return run

    def _call_train(self, model: Model, seed: int, *more: object) -> None:
        changes = ("--set", f"name={model.name}", *self._all_changes(model, seed))
        run = self.run_folder(model, seed)
        self._call("train", self.protocol, "--data", self.data, "-o", run, *more, *changes)

    def _export(self, model: Model, run: Path, bundle: Path) -> None:
        self._call("export", run, "-o", bundle)

    def _call(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "leanformer", *map(str, arguments)]
        print("+ leanformer", *command[3:], file=sys.stderr, flush=True)
        if code := _exit_code(command):
            raise Failed(code)


def _exit_code(command: Sequence[str]) -> int:
    """Run a command to its end. A signal to stop is the command's to obey: training saves a checkpoint first."""
    with subprocess.Popen(command) as process:
        # Ctrl-C the terminal has told both; an exception here could lose the exit code.
        handlers = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            return process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def table(scores: Sequence[Score], base: str, corpora: Sequence[str | None]) -> str:
    """Markdown: each reading's WER with its interval, and how far it is from that of the reading called `base`."""
    heads = [name or "all" for name in corpora]
    lines = [
        f"| reading | seed | {' | '.join(heads)} | {' | '.join(f'{name}, from {base}' for name in heads)} |",
        "|" + "---|" * (2 * len(heads) + 2),
    ]
    bases = {score.seed: score for score in scores if score.reading.name == base}
    for score in scores:
        rates = [with_interval(score.counted(name)) for name in corpora]
        gaps = [gap(score.counted(name), bases[score.seed].counted(name)) for name in corpora]
        cells = [score.reading.name, str(score.seed), *rates, *gaps]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
