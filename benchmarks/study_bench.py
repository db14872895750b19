"""Trains, exports and hears the rows of the study, each step once; what became of a run is a result, too."""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import environment  # noqa: F401 - before whatever needs torch
import numpy as np
import soundfile
from side_by_side import PROTOCOL, Bench, Failed, Model, Reading, Score
from study_rows import Row
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from leanformer.compress.swap_attention import swap_attention
from leanformer.evaluate.corpus import read_clips
from leanformer.export.bundle import FP32, INT8
from leanformer.train.checkpoint import (
    best_checkpoint,
    list_checkpoints,
    load_trained,
    read_checkpoint,
    write_checkpoint,
)
from leanformer.train.fitting import plain
from leanformer.train.keeping import DIVERGED as ENDED_BY
from leanformer.train.overrides import load_recipe

FULL_MS = 40_960
"""A chunk longer than any clip: full context. The attention of a graph spans no more than it was exported for."""
CHUNKS = {"320 ms": 320, "640 ms": 640, "full": FULL_MS}
PRECISIONS = (INT8, FP32)
POINTS = 24
"""Of a curve that are kept."""
_CURVES = ("train/phone", "train/ctc", "train/text", "train/gradient_norm", "dev/ctc", "dev_wer")
INTERRUPTED = (130, 143, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a command that was told to stop."""
TRAINED, DIVERGED = "trained", "diverged"


@dataclass(frozen=True)
class Setting:
    """How a row is heard: a variant by its name, a chunk (a key of CHUNKS) and a precision."""

    variant: str
    chunk: str
    precision: str


@dataclass(frozen=True)
class Run:
    """What became of a training: `seconds` that it took without pauses, and curves as (step, value)."""

    outcome: str
    step: int
    of_steps: int
    seconds: float
    curves: dict[str, list[tuple[int, float | None]]] = field(default_factory=dict)


class StudyBench(Bench):
    """A bench whose rows may begin with another's model, are read at several depths, and may diverge."""

    def __init__(self, folder: Path, data: Path, rows: Sequence[Row], protocol: Path = PROTOCOL) -> None:
        super().__init__(folder, data, protocol=protocol)
        self.rows = {row.name: row for row in rows}

    def finish(self, row: Row, seed: int) -> None:
        """Train, export and read a row, as far as that has not been done; a run that diverged is finished.

        Raises:
            Failed: a command failed for another reason than divergence, or was interrupted.
        """
        if not self._train_or_diverge(row, seed):
            return
        require_short(self.data)
        for reading in readings(row).values():
            self._score(row.model, reading, seed)

    def is_finished(self, row: Row, seed: int) -> bool:
        """Whether there is nothing left to do."""
        kept = (self.kept_score(row.model, one, seed) for one in readings(row).values())
        return self._has_diverged(row.model, seed) or all(path.exists() for path in kept)

    def scores(self, row: Row, seed: int) -> dict[Setting, Score]:
        """The scores of all readings; none unless the row is finished."""
        if self._has_diverged(row.model, seed) or not self.is_finished(row, seed):
            return {}
        return {one: self._score(row.model, reading, seed) for one, reading in readings(row).items()}

    def run(self, row: Row, seed: int) -> Run | None:
        """What became of a run; None if it is not over."""
        if not self._is_over(row.model, seed) and not self._has_diverged(row.model, seed):
            return None
        folder = self.run_folder(row.model, seed)
        steps = self._max_steps(row.model, seed)
        curves = read_curves(folder)
        end = diverged_at(folder, curves)
        thin = {tag: thinned([(step, value) for step, value, _ in points]) for tag, points in curves.items()}
        outcome = TRAINED if end is None else DIVERGED
        return Run(outcome, steps if end is None else end, steps, seconds_of(curves), thin)

    def bundle_of(self, row: Row, seed: int) -> Path | None:
        """The bundle of a row, if it has been exported."""
        bundle = self.bundle_folder(row.model, seed)
        return bundle if (bundle / "manifest.json").exists() else None

    def bundle_folder(self, model: Model, seed: int) -> Path:
        """Beside the bundles of other benchmarks, which cannot be heard in full context."""
        return self.folder / "whole" / self._kept_as(model, seed)

    def _train_or_diverge(self, row: Row, seed: int) -> bool:
        """Whether the row has a model now, for its training may diverge."""
        try:
            if not self._has_diverged(row.model, seed):
                self._train(row.model, seed)
        except Failed:
            if not self._has_diverged(row.model, seed):
                raise
            print(f"{row.name}: diverged", file=sys.stderr)
        return not self._has_diverged(row.model, seed)

    def _has_diverged(self, model: Model, seed: int) -> bool:
        return (self.run_folder(model, seed) / ENDED_BY).exists()

    def _is_over(self, model: Model, seed: int) -> bool:
        saved = list_checkpoints(self.run_folder(model, seed))
        return bool(saved) and saved[0].step >= self._max_steps(model, seed)

    def _max_steps(self, model: Model, seed: int) -> int:
        return load_recipe(self.protocol, self._all_changes(model, seed)).schedule.max_steps

    def _train(self, model: Model, seed: int) -> Path:
        run = self.run_folder(model, seed)
        if self._is_over(model, seed):
            return run
        begun = bool(
            list_checkpoints(run)
        )  # before its first checkpoint, a run has to be given its weights again
        start = self.rows[model.name].start
        if begun or not start:
            self._call_train(model, seed, *(["--resume"] if begun else []))
        else:
            self._call_train(model, seed, "--from", self._swapped(self.rows[start], seed, run))
        return run

    def _swapped(self, start: Row, seed: int, run: Path) -> Path:
        """A trained row with its softmax attention swapped, as a checkpoint beside `run`."""
        target = self.folder / "swapped" / f"{run.name}.ckpt"
        target.parent.mkdir(parents=True, exist_ok=True)
        swap_checkpoint(self._train(start.model, seed), target)
        return target

    def _export(self, model: Model, run: Path, bundle: Path) -> None:
        row, depths = self.rows[model.name], list[int]()
        if row.depths:
            full = load_recipe(self.protocol, self._all_changes(model, 0)).model.encoder.depth
            depths = [*row.depths, full]
        more = ("--depths", *depths) if depths else ()
        # What int8 loses is a figure of the page, and no reason to have none.
        settings = "--max-chunk-ms", FULL_MS, "--int8-agreement", 0
        self._call("export", run, "-o", bundle, *settings, *more)


def readings(row: Row) -> dict[Setting, Reading]:
    """All ways to hear a row."""
    return {
        Setting(variant.name, chunk, precision): Reading(
            " ".join(filter(None, (row.name, variant.name, chunk, precision))),
            *(row.name, milliseconds, precision, variant.options),
        )
        for variant in row.variants
        for chunk, milliseconds in CHUNKS.items()
        for precision in PRECISIONS
    }


def require_short(data: Path) -> None:
    """Refuse clips that are longer than a chunk of "full context"."""
    for clip in read_clips([data]).clips:
        seconds = clip.utterance.seconds or soundfile.info(str(clip.utterance.path)).duration
        if 1000 * seconds > FULL_MS:
            sys.exit(
                f"{clip.name}: {seconds:g} s are more than the {FULL_MS} ms that full context stands for"
            )


def pooled(scores: Sequence[Score]) -> Score:
    """Several seeds as one: errors and words of a clip added up, so that its rate is the mean of theirs."""
    first = scores[0]
    assert all(one.words == first.words for one in scores), "the seeds did not hear the same clips"
    errors = np.sum([one.errors for one in scores], axis=0)
    words = np.sum([one.words for one in scores], axis=0)
    return Score(**{**vars_of(first), "errors": errors.tolist(), "words": words.tolist()})


def vars_of(score: Score) -> dict[str, Any]:
    """The fields of a score, as they are."""
    return {name: getattr(score, name) for name in asdict(score)}


def swap_checkpoint(run: Path, target: Path) -> None:
    """Write the best checkpoint of a run with Performer attention in place of softmax, for `train --from`."""
    path = best_checkpoint(run)
    assert path is not None
    stored, trained = read_checkpoint(path), load_trained(path)
    model = swap_attention(trained.model, "performer")
    recipe = trained.recipe.model_copy(update={"model": model.config})
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    write_checkpoint({**stored, "state_dict": weights, "recipe": plain(recipe)}, target)


Curves = dict[str, list[tuple[int, float, float]]]
"""By tag: (step, value, seconds since the epoch) of each point."""


def read_curves(run: Path) -> Curves:
    """What a run has logged, in the order of steps."""
    folder = run / "tensorboard"
    if not folder.is_dir():
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in _CURVES if tag in events.Tags()["scalars"]]
    return {tag: [(one.step, one.value, one.wall_time) for one in events.Scalars(tag)] for tag in tags}


def diverged_at(run: Path, curves: Curves) -> int | None:
    """The first step that is known to be broken: a curve is no number there, or the run ended there; None if whole."""
    if not (run / ENDED_BY).exists():
        return None
    noticed = int(json.loads((run / ENDED_BY).read_text(encoding="utf-8"))["step"])
    broken = (step for points in curves.values() for step, value, _ in points if not math.isfinite(value))
    return min([noticed, *broken])


def seconds_of(curves: Curves) -> float:
    """Seconds from the first logged point to the last, without gaps of over ten times the usual: pauses."""
    times = sorted({wall for points in curves.values() for *_, wall in points})
    gaps = np.diff(times)
    gaps = gaps[gaps > 0.05]  # what one step logs comes at nearly the same time
    return float(gaps[gaps <= 10 * np.median(gaps)].sum()) if len(gaps) else 0.0


def thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float | None]]:
    """At most POINTS of a curve, evenly spread, up to the first that is no number (None)."""
    return list(_thin(points))


def _thin(points: Sequence[tuple[int, float]]) -> Iterator[tuple[int, float | None]]:
    broken = next((place for place, (_, value) in enumerate(points) if not math.isfinite(value)), None)
    whole = points if broken is None else points[:broken]
    if whole:
        count = min(POINTS, len(whole))
        for place in sorted({round(place) for place in np.linspace(0, len(whole) - 1, count)}):
            step, value = whole[place]
            yield step, float(f"{value:.4g}")
    if broken is not None:
        yield points[broken][0], None
