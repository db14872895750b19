"""The Lightning module of pre-training: one training step, one dev step."""

from typing import Any

import torch
from torch import Tensor

from leanformer.data.loader import TrainingBatch
from leanformer.features.fbank import Fbank
from leanformer.layers.streaming import Context
from leanformer.pretrain.best_rq import codebook_use
from leanformer.pretrain.masking import draw_spans, hide
from leanformer.pretrain.model import PretrainModel
from leanformer.pretrain.objective import Judged
from leanformer.pretrain.recipe import PretrainRecipe
from leanformer.train.figure import LOSS
from leanformer.train.schedule import draw_context, draw_depth, step_seed
from leanformer.train.stepping import Stepping

_DEV_MASKS = 4
"""Sets the masks of dev batches apart from those of training; see `masking.draw_spans`."""


class Pretraining(Stepping):
    """Trains a PretrainModel by a recipe. Everything random in a step is seeded by (seed, step)."""

    model: PretrainModel

    def __init__(self, model: PretrainModel, recipe: PretrainRecipe) -> None:
        super().__init__(model, recipe.optimizer, recipe.schedule)
        self.recipe = recipe
        self.fbank = Fbank()
        self._dev_codes: Tensor | None = None

    def training_step(self, batch: TrainingBatch, batch_index: int) -> Tensor:
        """The loss of one batch."""
        step, recipe = self.global_step, self.recipe
        torch.manual_seed(step_seed(recipe.seed, step))
        features, lengths = self.fbank(batch.waveforms, batch.lengths)
        frames = -(-features.shape[1] // recipe.encoder.subsampling.factor)
        context = draw_context(recipe.context, recipe.seed, step, frames)
        depth = draw_depth(recipe.drawn_depths, recipe.seed, step)
        hidden = self._hidden(lengths, frames, step)
        judged = self._judge(features, lengths, hidden, context, step, depth)
        logs = {"loss": judged.loss, **judged.figures}
        self.log_dict({f"train/{name}": value.detach() for name, value in logs.items()}, batch_size=1)
        self.log("train/depth", float(depth), batch_size=1)
        self.log("loss", judged.loss.detach(), prog_bar=True, logger=False, batch_size=1)
        return judged.loss

    def _hidden(self, lengths: Tensor, frames: int, step: int, **draw: int) -> Tensor:
        """Masks for features of (B,) frames: (B, `frames`), on their device."""
        recipe = self.recipe
        whole = lengths // recipe.encoder.subsampling.factor
        return draw_spans(whole, frames, recipe.masking, (recipe.seed, step), **draw).to(lengths.device)

    def _judge(
        self,
        features: Tensor,
        lengths: Tensor,
        hidden: Tensor,
        context: Context,
        step: int,
        depth: int | None = None,
    ) -> Judged:
        """Hide, with the noise of a step, encode, judge."""
        masking, factor = self.recipe.masking, self.recipe.encoder.subsampling.factor
        generator = torch.Generator().manual_seed(step_seed(self.recipe.seed, step))
        seen = hide(self.model.normalize(features), hidden, factor, masking, generator)
        encoded, _ = self.model.encode(seen, lengths, context, depth)
        return self.model.judge(encoded, features, lengths, hidden)

    def on_validation_epoch_start(self) -> None:
        """Count codes from none: a pass that was broken off is made anew."""
        self._dev_codes = None

    def validation_step(self, batch: TrainingBatch, batch_index: int) -> None:
        """Judge one dev batch at full depth, in the streaming context of the recipe, under masks that stay the same."""
        context = Context(self.recipe.context.dev_chunk_size, self.recipe.context.dev_left_context)
        features, lengths = self.fbank(batch.waveforms, batch.lengths)
        frames = -(-features.shape[1] // self.recipe.encoder.subsampling.factor)
        hidden = self._hidden(lengths, frames, batch_index, draw=_DEV_MASKS)
        judged = self._judge(features, lengths, hidden, context, batch_index)
        weight = max(1, int(hidden.sum()))
        self.log(LOSS.logged, judged.loss, batch_size=weight, prog_bar=True)
        if judged.code_counts is not None:
            self.log("dev/masked_accuracy", judged.figures["masked_accuracy"], batch_size=weight)
            before = 0 if self._dev_codes is None else self._dev_codes
            self._dev_codes = before + judged.code_counts

    def on_validation_epoch_end(self) -> None:
        """Log how much of the codebook the dev data uses."""
        if self._dev_codes is not None:
            use: dict[str, Any] = {f"dev/{k}": v for k, v in codebook_use(self._dev_codes).items()}
            self.log_dict(use)
