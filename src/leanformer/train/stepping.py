"""What the Lightning modules of all kinds of training have in common: optimiser, clipping, moving batches."""

from dataclasses import replace
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from leanformer.data.loader import TrainingBatch
from leanformer.train.optimizers import make_optimizer
from leanformer.train.recipe import OptimizerConfig, ScheduleConfig
from leanformer.train.schedule import rate_factor


class Stepping(lightning.LightningModule):
    """Trains `model` with a recipe's optimiser along a recipe's schedule; steps are for subclasses to define."""

    model: Any

    def __init__(self, model: nn.Module, optimizer: OptimizerConfig, schedule: ScheduleConfig) -> None:
        super().__init__()
        self.model = model
        self._optimizer = optimizer
        self._schedule = schedule

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
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), self._optimizer.clip_norm)
        self.log("train/gradient_norm", norm, batch_size=1)

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser, with the rate's curve over the steps."""
        optimizer = make_optimizer(self.model, self._optimizer)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(step, self._optimizer, self._schedule.max_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
