"""The encoders that benchmarks/layer_consistency compares, how large a study of them is, and where its runs lie."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kept import key

from leanformer.config import ModelConfig
from leanformer.config_toml import from_dict
from leanformer.errors import ConfigError
from leanformer.pretrain.recipe import PretrainRecipe, load_pretrain_recipe
from leanformer.train.overrides import load_recipe
from leanformer.train.recipe import Recipe

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
FINETUNE = RECIPES / "finetune.toml"


@dataclass(frozen=True)
class Row:
    """An encoder: the recipe of its pre-training, what is changed in it, and how it is fine-tuned."""

    name: str
    recipe: str
    changes: tuple[str, ...] = ()
    sampled: bool = False
    """Fine-tuned at a random depth."""


MAIN = Row("shared, random depth", "pretrain-shared", sampled=True)
BASE = Row("unshared", "pretrain-unshared")
FULL = Row("shared, full depth", "pretrain-shared-full")
UNTRAINED = Row(
    "untrained",
    "pretrain-shared",
    (
        "schedule.max_steps=1",
        "optimizer.peak_rate=0.0",
        "optimizer.muon.peak_rate=0.0",
        "name=untrained",
    ),
    sampled=True,
)
ROWS = (MAIN, BASE, FULL, UNTRAINED)


def find_rows(names: Sequence[str]) -> list[Row]:
    """Rows by name; ConfigError tells an unknown one, and which there are."""
    known = {row.name: row for row in ROWS}
    for name in names:
        if name not in known:
            raise ConfigError(f"--rows {name!r}: expected some of {', '.join(map(repr, known))}")
    return [known[name] for name in names]


@dataclass(frozen=True)
class Labels:
    """How much transcribed speech a recogniser learns from: so many hours, or all there is."""

    hours: float | None

    @classmethod
    def read(cls, text: str) -> Labels:
        """From the command line (ConfigError if it is neither a number of hours nor "all")."""
        try:
            hours = None if text == "all" else float(text)
        except ValueError:
            hours = 0.0
        if hours is not None and not hours > 0:
            raise ConfigError(f'--labels {text}: expected hours above 0, or "all"')
        return cls(hours)

    @property
    def name(self) -> str:
        return "all" if self.hours is None else f"{self.hours:g} h"

    @property
    def changes(self) -> tuple[str, ...]:
        """Of the protocol: half the steps, in which an hour is heard twenty times."""
        if self.hours is None:
            return ()
        return (
            f"corpora.train_hours={self.hours}",
            "text.start_step=700",
            "objective.ctc_start_step=950",
            "schedule.max_steps=1300",
            "optimizer.decay_steps=450",
        )


@dataclass(frozen=True)
class Size:
    """How large a study is: changes of the protocols for all rows alike, and how much is measured."""

    layers: int | None = None
    """In place of the recipes' twelve."""
    pretraining: tuple[str, ...] = ()
    finetuning: tuple[str, ...] = ()
    depths: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10, 11, 12)
    """At which the recogniser with shared layers and a random depth is heard; probes are read at every depth."""
    control_depths: tuple[int, ...] = (7,)
    """At which all others are heard, besides the full depth: they were not made for it."""
    labels: tuple[Labels, ...] = (Labels(1.0), Labels(None))
    probe_frames: tuple[int, int] = (40_000, 15_000)
    alike_frames: int = 10_000
    timed_seconds: float = 8.0
    timed_rounds: int = 5
    race_rounds: int = 200


_TINY = (
    "batch.batch_seconds=8.0",
    "batch.buckets=2",
    "optimizer.warmup_steps=1",
    "optimizer.decay_steps=1",
    "schedule.max_steps=3",
)
TOY = Size(
    layers=2,
    pretraining=(
        "encoder.model_dim=16",
        "encoder.subsampling.channels=4",
        "encoder.blocks=[{ffn_dim=16, kernel_size=5, attention={heads=2}}]",
        "objective.codes=16",
        *_TINY,
        'audio.splits=["all"]',
        "audio.dev_split=none",
    ),
    finetuning=(
        *_TINY,
        "model.phone_head.depth=1",
        "objective.ctc_start_step=0",
        "text.files=[]",
        "tokenizer.kind=char",
        "tokenizer.sentences=0",
        "corpora.train_split=all",
        "corpora.dev_split=none",
    ),
    depths=(1, 2),
    control_depths=(1,),
    labels=(Labels(0.002), Labels(None)),
    probe_frames=(400, 200),
    alike_frames=200,
    timed_seconds=1.0,
    timed_rounds=1,
    race_rounds=3,
)
"""To see that all of it runs, within a minute or two, on whatever speech; its figures mean nothing."""


class Study:
    """Recipes and folders of every run of a study.

    Args:
        folder: keeps runs, bundles and figures.
        data: corpora.
        alignments: of `leanformer align`, for probes and fine-tuning.
        size: how large it is.
        changes: of pre-training and of fine-tuning, as for `--set`, for all rows alike.
    """

    def __init__(
        self,
        folder: Path,
        data: Path,
        alignments: Sequence[Path],
        size: Size,
        changes: tuple[Sequence[str], Sequence[str]] = ((), ()),
    ) -> None:
        self.folder, self.data, self.alignments, self.size, self.changes = (
            folder,
            data,
            alignments,
            size,
            changes,
        )

    def pretraining(self, row: Row, seed: int) -> PretrainRecipe:
        """The recipe of a row's encoder: the row's own changes go last."""
        changes = [*self.size.pretraining, *self.changes[0], *row.changes, f"seed={seed}"]
        recipe = load_pretrain_recipe(RECIPES / f"{row.recipe}.toml", changes)
        return recipe if self.size.layers is None else with_layers(recipe, self.size.layers)

    def finetuning(self, row: Row, labels: Labels, seed: int) -> Recipe:
        """The recipe of a row's recogniser, which has the row's encoder."""
        changes = (
            *labels.changes,
            *self.size.finetuning,
            *self.changes[1],
            f"corpora.alignments={json.dumps([str(path.resolve()) for path in self.alignments])}",
            f"objective.sample_depth={str(row.sampled).lower()}",
            f"seed={seed}",
        )
        recipe = load_recipe(FINETUNE, changes)
        pretrained = self.pretraining(row, seed)
        model = {**recipe.model.model_dump(), "encoder": pretrained.encoder.model_dump()}
        name = f"{pretrained.name}-{labels.name}".replace(" ", "")
        return recipe.model_copy(update={"name": name, "model": from_dict(ModelConfig, model, name)})

    def run(self, recipe: PretrainRecipe | Recipe, *made_from: object) -> Path:
        """The folder of a run; another one for whatever differs in its recipe or in what it begins with."""
        made = key(recipe.model_dump(mode="json"), str(self.data.resolve()), *made_from)
        return self.folder / "runs" / f"{recipe.name}-{recipe.seed}-{made}"

    @property
    def depth(self) -> int:
        """Layers of every encoder."""
        return self.pretraining(MAIN, 0).encoder.depth


def with_layers(recipe: PretrainRecipe, layers: int) -> PretrainRecipe:
    """The same with another number of layers, shared or not, and random depths up to it."""
    values = recipe.model_dump(mode="json")
    encoder = values["encoder"]
    encoder["exits"] = []
    if len(recipe.encoder.blocks) < recipe.encoder.depth:
        encoder["layer_map"] = [0] * layers
    else:
        encoder["blocks"], encoder["layer_map"] = encoder["blocks"][:1] * layers, []
    if recipe.depths is not None:
        values["depths"] = [1, layers]
    return from_dict(PretrainRecipe, values, recipe.name)
