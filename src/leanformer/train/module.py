"""The Lightning module: one training step, one dev step, one optimiser."""

from dataclasses import replace
from typing import Any

import lightning
import torch
from jiwer import process_words
from torch import Tensor

from leanformer.data.loader import TrainingBatch
from leanformer.features.augmentation import SpecAugment
from leanformer.features.fbank import Fbank
from leanformer.layers.normalization import BatchNorm
from leanformer.layers.streaming import Context
from leanformer.model import BLANK_ID, SpeechModel
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.objective import ctc_loss, exits_loss, phone_loss, phone_targets, placed_loss
from leanformer.train.optimizers import make_optimizer
from leanformer.train.recipe import Recipe, drawable_depths
from leanformer.train.schedule import (
    clarity_factor,
    ctc_weight,
    draw_context,
    draw_depth,
    rate_factor,
    step_seed,
)
from leanformer.train.text_injection import TextSpeaker


def train_second_alone(model: SpeechModel) -> None:
    """Keep gradients from everything but the second pass, in place."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("second."))


class Training(lightning.LightningModule):
    """Trains a SpeechModel by a recipe. Everything random in a step is seeded by (seed, step)."""

    def __init__(
        self, model: SpeechModel, recipe: Recipe, tokenizer: Tokenizer, speaker: TextSpeaker | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.fbank = Fbank()
        self.augment = SpecAugment(recipe.augment.spec)
        self.speaker = speaker
        self._edits = {"first": 0, "last": 0, "words": 0}  # word errors and words of the dev data so far
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
            ctc = ctc_loss(out.log_probs, out.lengths, batch.targets, batch.target_lengths)
            loss = loss + weight * ctc
            logs["train/ctc"] = ctc.detach()
            if out.second is not None:
                second = ctc_loss(out.second, out.lengths, batch.targets, batch.target_lengths)
                loss = loss + weight * recipe.objective.second_weight * second
                logs["train/second"] = second.detach()
            if out.exits:
                exits = exits_loss(out, batch.targets, batch.target_lengths)
                loss = loss + weight * recipe.objective.exit_weight * exits
                logs["train/exits"] = exits.detach()
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
        wanted = (batch.targets.to(device), batch.target_lengths.to(device))
        placed = step < recipe.text.start_step + recipe.text.placed_steps

        def loss(log_probs: Tensor) -> Tensor:
            if placed:
                return placed_loss(log_probs, out.lengths, *wanted, batch.places.to(device))
            return ctc_loss(log_probs, out.lengths, *wanted)

        first = loss(out.log_probs)
        return first if out.second is None else first + recipe.objective.second_weight * loss(out.second)

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
        self.log(
            "dev/ctc", ctc_loss(out.log_probs, out.lengths, batch.targets, batch.target_lengths), batch_size=1
        )
        last = out.log_probs if out.second is None else out.second
        for row in range(len(last)):
            count = int(batch.target_lengths[row])
            if count == 0:
                continue
            wanted = self.tokenizer.decode(batch.targets[row, :count].tolist())
            self._edits["words"] += len(wanted.split())
            size = int(out.lengths[row])
            self._edits["last"] += self._errors(wanted, last[row, :size])
            if out.second is not None:
                self._edits["first"] += self._errors(wanted, out.log_probs[row, :size])

    def _errors(self, wanted: str, log_probs: Tensor) -> int:
        """Word errors of the best path through (T, V)."""
        tokens = torch.unique_consecutive(log_probs.argmax(dim=-1))
        measured = process_words(wanted, self.tokenizer.decode(tokens[tokens != BLANK_ID].tolist()))
        return int(measured.substitutions + measured.deletions + measured.insertions)

    def on_validation_epoch_end(self) -> None:
        """Log the word error rate over the dev data, and that of the first pass where there are two."""
        words = max(1, self._edits["words"])
        self.log("dev_wer", self._edits["last"] / words, prog_bar=True)
        if self.model.second is not None:
            self.log("dev/first_wer", self._edits["first"] / words)
        self._edits = dict.fromkeys(self._edits, 0)

    def transfer_batch_to_device(
        self, batch: TrainingBatch, device: torch.device, dataloader_idx: int
    ) -> TrainingBatch:
        """Move every tensor of a batch (Lightning's own way refuses frozen dataclasses)."""
        moved: dict[str, Any] = {k: v.to(device) for k, v in vars(batch).items() if isinstance(v, Tensor)}
        return replace(batch, **moved)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm. Lightning would refuse a fused optimiser, for fear of scaled gradients; bf16 has none."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), self.recipe.optimizer.clip_norm)
        self.log("train/gradient_norm", norm, batch_size=1)

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser, with the rate's curve over the steps."""
        config = self.recipe.optimizer
        optimizer = make_optimizer(self.model, config)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(step, config, self.recipe.schedule.max_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
