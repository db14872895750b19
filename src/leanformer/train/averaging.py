"""The exponential moving average of the weights, which is what is evaluated and exported.

    a <- w                      for the first `start` steps, while the weights move fast
    a <- a + (1 - d) (w - a)    after each later step

One fused call for all tensors; a callback of Lightning exists, but goes tensor by tensor with temporaries, and
evaluates the initial weights until averaging starts.
"""

from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor


class Averaging(Callback):
    """Keeps the average beside the model, puts it in place for dev passes, and both into checkpoints.

    In a checkpoint, `state_dict` is the average, `current_model_state` the weights as the optimiser has them.
    A tensor that has several names (shared layers, a head that is also a tap) has one average by all of them.

    Args:
        decay: d above, per step.
        start: steps before averaging starts.
    """

    def __init__(self, decay: float, start: int) -> None:
        self.decay, self.start = decay, start
        self._average: dict[str, Tensor] = {}
        self._names: list[str] = []  # one for each tensor
        self._floating: tuple[list[Tensor], list[Tensor]] = [], []
        self._whole: list[tuple[Tensor, Tensor]] = []
        self._in_place = False  # whether the model holds the average now, and `_average` the weights

    @torch.no_grad()
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start from the weights, or from what a checkpoint brought."""
        state = pl_module.state_dict(keep_vars=True)
        first: dict[int, str] = {}
        for name, value in state.items():
            first.setdefault(id(value), name)
        self._names = list(first.values())
        kept = {
            name: self._average.get(name, state[name]).detach().to(state[name].device, copy=True)
            for name in self._names
        }
        self._average = {name: kept[first[id(value)]] for name, value in state.items()}
        # The tensors stay the same ones all along; asking the model for them takes as long as averaging.
        floating = [name for name in self._names if state[name].is_floating_point()]
        self._floating = [kept[name] for name in floating], [state[name].detach() for name in floating]
        self._whole = [(kept[name], state[name]) for name in self._names if name not in floating]

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Follow the step just made."""
        averaged, current = self._floating
        torch._foreach_lerp_(averaged, current, 1.0 - self.decay if trainer.global_step > self.start else 1.0)
        for average, value in self._whole:
            average.copy_(value)

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Put the average in place."""
        self._swap(pl_module)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Put the weights back."""
        self._swap(pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Store both, whichever is in place."""
        pair = (checkpoint["state_dict"], self._average)
        checkpoint["state_dict"], checkpoint["current_model_state"] = pair if self._in_place else pair[::-1]

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Take both back. Lightning has loaded the average into the model by now."""
        self._average = checkpoint["state_dict"]
        pl_module.load_state_dict(checkpoint["current_model_state"])

    @torch.no_grad()
    def _swap(self, pl_module: Any) -> None:
        state = pl_module.state_dict()
        for name in self._names:
            value = state[name]
            kept = value.clone()
            value.copy_(self._average[name])
            self._average[name].copy_(kept)
        self._in_place = not self._in_place
