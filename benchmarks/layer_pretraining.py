"""The first half of benchmarks/layer_consistency: encoders are pre-trained, probed at every depth, compared, timed."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from kept import kept, key, say
from layer_rows import ROWS, UNTRAINED, Row, Study

from leanformer.analysis.consistency import measure
from leanformer.analysis.plot import plot
from leanformer.analysis.probe import probe
from leanformer.analysis.speech import batches
from leanformer.analysis.subject import load_subject
from leanformer.data.alignment import AlignmentTable
from leanformer.data.subset import shuffled, until_seconds
from leanformer.features.fbank import Fbank
from leanformer.layers.streaming import Context
from leanformer.pretrain.masking import draw_spans, hide
from leanformer.pretrain.model import PretrainModel
from leanformer.pretrain.prepare import read_audio
from leanformer.pretrain.recipe import PretrainRecipe
from leanformer.pretrain.run import pretrain
from leanformer.train.checkpoint import list_checkpoints
from leanformer.train.optimizers import make_optimizer

ALIKE_SECONDS = 600.0


def pretrained(study: Study, row: Row, seed: int) -> Path:
    """The last checkpoint of a row, which is trained as far as it is not: then all rows have made the same steps."""
    recipe = study.pretraining(row, seed)
    run = study.run(recipe)
    newest = list_checkpoints(run)
    if not newest or newest[0].step < recipe.schedule.max_steps:
        say(f"pre-training {row.name}, seed {seed}: {run}")
        pretrain(recipe, [study.data], run, resume=(run / "recipe.toml").exists())
    return list_checkpoints(run)[0].path


def read(study: Study, row: Row, seed: int) -> dict[str, Any]:
    """Probe and consistency of a row."""
    checkpoint = pretrained(study, row, seed)
    names = [path.name for path in study.alignments]
    name = f"analysis-{key(study.size.probe_frames, study.size.alike_frames, names)}.json"

    def make() -> dict[str, Any]:
        say(f"probing {row.name}, seed {seed}")
        subject = load_subject(checkpoint)
        phones = AlignmentTable.load(*study.alignments)
        depths = subject.require_depths(())
        cuts = read_audio([study.data], ("all",))
        probed = probe(subject, cuts, phones, depths, study.size.probe_frames, report=say)
        dev = until_seconds(shuffled(read_audio([study.data], ("dev",)), seed=0), ALIKE_SECONDS)
        alike = measure(subject, batches(dev), study.size.alike_frames, full=False)
        plot({row.name: alike}, checkpoint.parent / "consistency.png")
        return {
            "name": row.name,
            "seed": seed,
            "step": subject.step,
            "parameters": sum(p.numel() for p in subject.model.encoder.parameters()),
            "probe": probed.to_dict(),
            "consistency": alike.to_dict(),
        }

    return dict(kept(checkpoint.parent / name, make))


def step_seconds(study: Study) -> dict[str, dict[int, float]]:
    """CPU seconds of a step on one thread, by row and depth: medians over rounds, in which all take turns."""
    recipes = {row.name: study.pretraining(row, 0) for row in ROWS if row is not UNTRAINED}
    size = study.size
    made_from = key(
        [r.model_dump(mode="json") for r in recipes.values()], size.timed_seconds, size.timed_rounds
    )
    found = kept(
        study.folder / f"steps-{made_from}.json",
        lambda: _race(recipes, size.timed_seconds, size.timed_rounds),
    )
    return {name: {int(depth): seconds for depth, seconds in steps.items()} for name, steps in found.items()}


def _race(recipes: dict[str, PretrainRecipe], seconds: float, rounds: int) -> dict[str, dict[int, float]]:
    say("timing steps")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    timed = {name: Timed(recipe, seconds) for name, recipe in recipes.items()}
    taken: dict[str, dict[int, list[float]]] = {
        name: {depth: [] for depth in recipe.drawn_depths} for name, recipe in recipes.items()
    }
    for number in range(rounds + 1):  # the first is a warm-up
        for name, depths in taken.items():
            for depth, costs in depths.items():
                cost = timed[name].step(depth)
                if number:
                    costs.append(cost)
    torch.set_num_threads(threads)
    return {
        name: {depth: statistics.median(costs) for depth, costs in depths.items()}
        for name, depths in taken.items()
    }


class Timed:
    """A model that makes steps on noise, whose cost is that of speech of the same length.

    Batches are as large as the recipe's, as an optimiser's step costs the same for any.
    """

    def __init__(self, recipe: PretrainRecipe, seconds: float) -> None:
        torch.manual_seed(0)
        self.recipe = recipe
        self.model = PretrainModel(recipe.encoder, recipe.objective).train()
        self.optimizer = make_optimizer(self.model, recipe.optimizer)
        samples, rows = int(16_000 * seconds), max(1, round(recipe.batch.batch_seconds / seconds))
        self.waveforms = 0.1 * torch.randn(rows, samples)
        self.lengths = torch.full((rows,), samples)
        self.fbank = Fbank()

    def step(self, depth: int) -> float:
        """CPU seconds of one step in which `depth` layers run, in bfloat16 as in training."""
        begin = time.process_time()
        recipe, model = self.recipe, self.model
        with torch.autocast("cpu", torch.bfloat16):
            features, lengths = self.fbank(self.waveforms, self.lengths)
            factor = recipe.encoder.subsampling.factor
            hidden = draw_spans(lengths // factor, -(-features.shape[1] // factor), recipe.masking, (0, 0))
            generator = torch.Generator().manual_seed(0)
            seen = hide(model.normalize(features), hidden, factor, recipe.masking, generator)
            encoded, _ = model.encode(seen, lengths, Context(16, 64), depth)
            loss = model.judge(encoded, features, lengths, hidden).loss
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.process_time() - begin
