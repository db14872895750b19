"""The second half of benchmarks/layer_consistency: encoders learn to write, and are heard at every chosen depth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from kept import kept, key, say
from layer_pretraining import pretrained
from layer_rows import BASE, MAIN, ROWS, Labels, Row, Study
from paired import Counted

from leanformer.errors import ConfigError, DataError
from leanformer.evaluate.corpus import Clip, read_clips
from leanformer.evaluate.evaluate import evaluate
from leanformer.evaluate.interval import resampling_units
from leanformer.export.bundle import INT8
from leanformer.export.export import Settings, export
from leanformer.profile.costs import Cost, costs_in_turns
from leanformer.profile.subject import find_subject
from leanformer.runtime.recognizer import Recognizer
from leanformer.train.checkpoint import list_checkpoints, load_trained
from leanformer.train.loop import train
from leanformer.train.recipe import drawable_depths

CHUNK_MS = 640


@dataclass(frozen=True)
class Heard:
    """What a recogniser got wrong at a depth, clip by clip in the clips' order: counts of words and of characters."""

    row: str
    labels: str
    seed: int
    depth: int
    corpora: list[str]
    speakers: list[str]
    word_errors: list[int]
    words: list[int]
    character_errors: list[int]
    characters: list[int]

    @cached_property
    def units(self) -> np.ndarray:
        """Which clips are drawn together."""
        names = zip(self.corpora, self.speakers, strict=True)
        return resampling_units([f"{corpus}/{speaker}" if speaker else "" for corpus, speaker in names])[0]

    @property
    def wer(self) -> Counted:
        return Counted.of(self.word_errors, self.words, self.units)

    @property
    def cer(self) -> Counted:
        return Counted.of(self.character_errors, self.characters, self.units)


def check(study: Study) -> None:
    """Refuse what would fail after hours of pre-training: depths that the encoders lack, recipes that cannot be run.

    Raises:
        ConfigError: naming the depth, or the key and the value.
    """
    depth = study.depth
    for one in study.size.depths:
        if not 1 <= one <= depth:
            raise ConfigError(f"--depths {one}: the encoders have layers 1 to {depth}; name some of these")
    for labels in study.size.labels:
        recipes = {row: study.finetuning(row, labels, seed=0) for row in ROWS}
        least = drawable_depths(recipes[MAIN].model)[0]
        if too_low := [one for one in study.size.depths if one < least]:
            raise ConfigError(
                f"--depths {too_low[0]}: below the phone head, at layer {least}, no words are taught; name {least} to "
                f"{depth}"
            )


def chosen_depths(study: Study, row: Row) -> tuple[int, ...]:
    """Where a row's recogniser is heard: at the full depth, from which differences are taken, and at what is chosen."""
    chosen = study.size.depths if row is MAIN else study.size.control_depths
    return tuple(sorted({*chosen, study.depth}))


def bundle(study: Study, row: Row, labels: Labels, seed: int) -> Path:
    """The bundle of a row's recogniser for all chosen depths; trained and exported as far as that is not done."""
    initial = pretrained(study, row, seed)
    recipe = study.finetuning(row, labels, seed)
    run = study.run(recipe, initial.parent.name)
    depths = chosen_depths(study, row)
    made = study.folder / "bundles" / f"{run.name}-{key(depths)}"
    if (made / "manifest.json").exists():
        return made
    newest = list_checkpoints(run)
    if not newest or newest[0].step < recipe.schedule.max_steps:
        say(f"fine-tuning {row.name}, {labels.name}, seed {seed}: {run}")
        train(recipe, [study.data], run, resume=(run / "recipe.toml").exists(), initial=initial)
    say(f"exporting {row.name}, {labels.name}, seed {seed}: depths {', '.join(map(str, depths))}")
    # Below their full depth, the controls are expected to be sure of nothing, which is for the error rates to say.
    settings = Settings(depths=depths, keep_fp32=False, int8_agreement=0.0)
    # The last checkpoint, not the best on dev: dev is what is measured on.
    export(load_trained(list_checkpoints(run)[0].path), made, settings)
    return made


def hear(study: Study, row: Row, labels: Labels, seed: int, jobs: int) -> list[Heard]:
    """What a row's recogniser makes of the dev speech at each depth, by greedy search."""
    folder = bundle(study, row, labels, seed)
    clips = read_clips([study.data]).clips

    def at(depth: int) -> dict[str, object]:
        say(f"hearing {row.name}, {labels.name}, seed {seed}, depth {depth}")
        recognizer = Recognizer.load(folder, precision=INT8, chunk_ms=CHUNK_MS, depth=depth, beam=1)
        return asdict(_counted(recognizer, clips, (row.name, labels.name, seed, depth), jobs))

    scores = study.folder / "scores"
    return [
        Heard(**kept(scores / f"{folder.name}-{depth}.json", lambda depth=depth: at(depth)))
        for depth in chosen_depths(study, row)
    ]


def _counted(
    recognizer: Recognizer, clips: tuple[Clip, ...], what: tuple[str, str, int, int], jobs: int
) -> Heard:
    outcome = evaluate(recognizer, clips, jobs=jobs)
    if outcome.failed:
        raise DataError(f"{len(outcome.failed)} clips cannot be compared: {outcome.failed[0].reason}")
    clips_of, errors = [one.clip for one in outcome.scored], [one.errors for one in outcome.scored]
    return Heard(
        *what,
        [clip.corpus for clip in clips_of],
        [clip.utterance.speaker for clip in clips_of],
        [one.word_errors for one in errors],
        [one.words for one in errors],
        [one.character_errors for one in errors],
        [one.characters for one in errors],
    )


def step_costs(study: Study, labels: Labels, seed: int) -> dict[str, dict[int, Cost]]:
    """Median ms of a chunk in int8 on one thread, and modelled energy, of shared and unshared layers at each depth.

    All take turns, chunk by chunk. The weights are those of one recogniser each: what a step costs does not depend on
    them.
    """
    rows, rounds = (MAIN, BASE), study.size.race_rounds
    folders = {row.name: bundle(study, row, labels, seed) for row in rows}
    depths = {row.name: chosen_depths(study, row) for row in rows}

    def make() -> dict[str, dict[str, object]]:
        say("timing chunks")
        subjects = {
            (name, depth): find_subject(str(folder), depth)
            for name, folder in folders.items()
            for depth in depths[name]
        }
        costs = costs_in_turns(subjects, INT8, CHUNK_MS, rounds)
        return {name: {str(depth): asdict(costs[name, depth]) for depth in depths[name]} for name in folders}

    made_from = key([folder.name for folder in folders.values()], rounds)
    found = kept(study.folder / f"chunks-{made_from}.json", make)
    return {name: {int(depth): Cost(**one) for depth, one in costs.items()} for name, costs in found.items()}
