"""The Lightning module: one training step, one dev step, one optimiser."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from leanformer.data.loader import TrainingBatch
from leanformer.features.augmentation import SpecAugment
from leanformer.features.fbank import Fbank
from leanformer.layers.normalization import BatchNorm
from leanformer.layers.streaming import Context
from leanformer.model import Outputs, SpeechModel
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.dev_errors import DevErrors
from leanformer.train.losses import Loss, error_losses, losses
from leanformer.train.objective import ctc_loss, phone_loss, phone_targets, placed_loss
from leanformer.train.recipe import Recipe, drawable_depths
from leanformer.train.schedule import (
    clarity_factor,
    ctc_weight,
    draw_context,
    draw_depth,
    step_seed,
)
from leanformer.train.stepping import Stepping
from leanformer.train.text_injection import TextSpeaker


def train_second_alone(model: SpeechModel) -> None:
    """Keep gradients from everything but the second pass, in place."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("second."))


class Training(Stepping):
    """Trains a SpeechModel by a recipe. Everything random in a step is seeded by (seed, step)."""

    model: SpeechModel

    def __init__(
        self, model: SpeechModel, recipe: Recipe, tokenizer: Tokenizer, speaker: TextSpeaker | None = None
    ) -> None:
        super().__init__(model, recipe.optimizer, recipe.schedule)
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.fbank = Fbank()
        self.augment = SpecAugment(recipe.augment.spec)
        self.speaker = speaker
        self._errors = DevErrors(model, tokenizer, with_ctc=recipe.objective.ctc_weight > 0.0)
        if recipe.objective.freeze_first:
            train_second_alone(model)

    def training_step(self, batch: TrainingBatch, batch_index: int) -> Tensor:
        """The loss of one batch."""
        step, recipe = self.global_step, self.recipe
        torch.manual_seed(step_seed(recipe.seed, step))
        self._freeze()
        begun = self.speaker is not None and step >= recipe.text.start_step and self.speaker.bank.is_ready()
        alone = begun and step < recipe.text.start_step + recipe.text.alone_steps
        loss: Tensor = torch.zeros(())
        logs: dict[str, Tensor] = {}
        if not alone:
            loss, logs = self._audio_loss(batch)
        if begun and self.speaker is not None:
            text = self._text_loss(self.speaker)
            loss = loss + recipe.text.weight * text
            logs["train/text"] = text.detach()
        self.log_dict(logs, batch_size=1)
        self.log("loss", loss.detach(), prog_bar=True, logger=False, batch_size=1)
        return loss

    def _audio_loss(self, batch: TrainingBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """CTC and phone losses by their weights; the upper layers run only when CTC has any."""
        step, recipe = self.global_step, self.recipe
        features, lengths = self.fbank(batch.waveforms, batch.lengths)
        features = self.augment(self.model.normalize(features), lengths, self._generator())
        frames = -(-features.shape[1] // recipe.model.encoder.subsampling.factor)
        context = draw_context(recipe.context, recipe.seed, step, frames)
        phones = batch.phones if self.model.phone_head is not None else None
        weight = ctc_weight(step, recipe.objective) if phones is not None else 1.0
        logs: dict[str, Tensor] = {}
        loss = features.new_zeros(())
        if weight > 0.0:
            with_exits = recipe.objective.exit_weight > 0.0
            out = self.model.train_outputs(features, lengths, context, self._depth(), with_exits)
            logits = out.phone_logits
            wanted = batch.targets, batch.target_lengths
            for one in (*self._losses(out, *wanted), *self._errors_expected(out, *wanted)):
                loss = loss + weight * one.weight * one.value
                logs[f"train/{one.name}"] = one.shown
        else:
            logits = self.model.phone_outputs(features, lengths, context)
        if logits is not None and phones is not None:
            phone, accuracy = phone_loss(logits, phones)
            loss = loss + recipe.objective.phone_weight * phone
            logs |= {"train/phone": phone.detach(), "train/phone_accuracy": accuracy}
            if self.speaker is not None:
                self._keep_posteriors(logits.detach(), phones)
        return loss, logs

    def _freeze(self) -> None:
        """Have a first pass that stays as it is run as in use, and BatchNorms use their running statistics once the
        step has come; in a resumed run too.
        """
        if self.recipe.objective.freeze_first:
            self.model.encoder.eval()
        freeze = self.recipe.optimizer.freeze_norms_step
        if freeze is not None and self.global_step >= freeze:
            for module in self.modules():
                if isinstance(module, BatchNorm):
                    module.eval()

    def _depth(self, above_phones: bool = False) -> int:
        """How many layers run in this step."""
        if not self.recipe.objective.sample_depth:
            return self.recipe.model.encoder.depth
        depths = drawable_depths(self.recipe.model, above_phones)
        return draw_depth(depths, self.recipe.seed, self.global_step)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(step_seed(self.recipe.seed, self.global_step))

    def _keep_posteriors(self, logits: Tensor, phones: Tensor) -> None:
        posteriors = logits.softmax(dim=-1).flatten(1, 2)  # (B, slots in time, NUM_PHONES)
        labels = phone_targets(phones, posteriors.shape[1])
        assert self.speaker is not None
        self.speaker.bank.add(posteriors.cpu().numpy(), labels.cpu().numpy())

    def _text_loss(self, speaker: TextSpeaker) -> Tensor:
        recipe, step = self.recipe, self.global_step
        batch = speaker.batch((recipe.seed, step, 1), clarity_factor(step, recipe.text))
        device = self.model.feature_mean.device
        context = draw_context(recipe.context, recipe.seed, step, recipe.text.frames)
        spoken = batch.posteriors.to(device), batch.lengths.to(device)
        out = self.model.text_outputs(*spoken, context, self._depth(above_phones=True))
        wanted = batch.targets.to(device), batch.target_lengths.to(device)
        placed = step < recipe.text.start_step + recipe.text.placed_steps
        found = [*self._losses(out, *wanted, batch.places.to(device) if placed else None)]
        if not placed:
            found += self._errors_expected(out, *wanted)
        return torch.stack([one.weight * one.value for one in found]).sum()

    def _losses(
        self, out: Outputs, targets: Tensor, target_lengths: Tensor, places: Tensor | None = None
    ) -> Iterator[Loss]:
        """All losses of some outputs; with the tokens' places known, cross-entropy there instead of CTC."""
        wanted = {"lengths": out.lengths, "targets": targets, "target_lengths": target_lengths}
        ctc = partial(ctc_loss, **wanted) if places is None else partial(placed_loss, **wanted, places=places)
        return losses(self.model, out, targets, target_lengths, self.recipe.objective, ctc)

    def _errors_expected(self, out: Outputs, targets: Tensor, target_lengths: Tensor) -> Iterator[Loss]:
        """The expected word errors, if the recipe wants them and the step has come."""
        config = self.recipe.objective.expected_errors
        if config is None or self.global_step < config.start_step:
            return
        rows = zip(targets.tolist(), target_lengths.tolist(), strict=True)
        wanted = [self.tokenizer.decode(row[:size]) for row, size in rows]
        draws = self._generator()
        yield from error_losses(out, wanted, self.tokenizer, self.recipe.objective, config, draws)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the posterior bank, which later text batches are drawn from."""
        if self.speaker is not None:
            checkpoint["posterior_bank"] = self.speaker.bank.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the posterior bank, if the checkpoint has one."""
        if self.speaker is not None and "posterior_bank" in checkpoint:
            self.speaker.bank.load_state_dict(checkpoint["posterior_bank"])

    def validation_step(self, batch: TrainingBatch, batch_index: int) -> None:
        """Greedy word errors of one dev batch, in the streaming context of the recipe."""
        context = Context(self.recipe.context.dev_chunk_size, self.recipe.context.dev_left_context)
        features, lengths = self.fbank(batch.waveforms, batch.lengths)
        out = self.model.train_outputs(self.model.normalize(features), lengths, context)
        for one in self._losses(out, batch.targets, batch.target_lengths):
            self.log(f"dev/{one.name}", one.value, batch_size=1)
        self._errors.add(out, batch.targets, batch.target_lengths)

    def on_validation_epoch_end(self) -> None:
        """Log the word error rate over the dev data, by each decoder and pass; the last pass's counts."""
        rates = self._errors.take()
        self.log("dev_wer", next(iter(rates.values()), 0.0), prog_bar=True)
        if len(rates) > 1:
            self.log_dict({f"dev_wer/{name}": rate for name, rate in rates.items()})
