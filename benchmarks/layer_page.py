"""The page of benchmarks/layer_consistency: its tables and pictures in docs, all figures beside them as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from layer_plot import plot_consistency, plot_depths
from layer_report import Findings, report
from layer_rows import MAIN, ROWS, Labels, Study

from leanformer.cli.outputs import replacing

PAGE = """\
# Study: layer consistency, from pre-training to words

Made by `benchmarks/layer_consistency --page`; no figure here is written by hand. All figures: [{json}]({json}).
[pretraining.md](pretraining.md) says what each part does, and what follows from this.

{protocol}

![curves over the depth]({curves})

{report}

## How alike the layers are

![heat maps]({alike})

The pictures show seed {seed}.
"""


def write_page(found: Findings, planned: Study, seed: int, path: Path) -> None:
    """The page, and beside it by the same name its pictures and figures; errors as of `plot_depths`."""
    curves, alike, figures = (path.with_name(path.stem + end) for end in (".png", "-alike.png", ".json"))
    plot_depths(found, seed, curves)
    plot_consistency(found, seed, alike)
    with replacing(figures) as file:
        file.write(json.dumps(found.to_dict(), indent=1) + "\n")
    text = PAGE.format(
        json=figures.name,
        curves=curves.name,
        alike=alike.name,
        seed=seed,
        protocol=protocol(planned),
        report=report(found),
    )
    with replacing(path) as file:
        file.write(text)


def protocol(planned: Study) -> str:
    """What was trained how, from the recipes."""
    recipe = planned.pretraining(MAIN, 0)
    encoder = recipe.encoder
    parts = [
        f"{len(ROWS)} encoders of {encoder.depth} layers of {encoder.model_dim} channels. Pre-training: "
        f"{recipe.schedule.max_steps} steps of {recipe.batch.batch_seconds:g} s of audio without transcripts, "
        f"objective `{recipe.objective.kind}`. Untrained: the first one's weights before its first step."
    ]
    parts += [_fine_tuning(planned, labels) for labels in planned.size.labels]
    if changed := " ".join([*planned.changes[0], *planned.changes[1]]):
        parts.append(f"The recipes were changed by `{changed}`.")
    return "\n\n".join(parts)


def _fine_tuning(planned: Study, labels: Labels) -> str:
    recipe = planned.finetuning(MAIN, labels, 0)
    return (
        f"Fine-tuning with labelled speech, {labels.name}: {recipe.schedule.max_steps} steps of "
        f"{recipe.batch.batch_seconds:g} s, CTC on tokens of kind `{recipe.tokenizer.kind}`, greedy search."
    )
