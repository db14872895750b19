"""The optimiser that a recipe asks for: AdamW alone, or Muon for the matrices of the blocks and AdamW for the rest.

Muon (Jordan et al. 2024) steps along the momentum with all its singular values set near one, so that rare
directions are learnt as fast as common ones. Its step costs the same for any batch size, so it pays with larger
batches; docs/results.md has the comparison.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from leanformer.train.recipe import MuonConfig, OptimizerConfig


class Together(torch.optim.Optimizer):
    """Several optimisers as one, each over parameters of its own.

    Lightning counts the steps of every optimiser that it knows of; here one step is one step.
    """

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._gather()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step of each part, after evaluating `closure` once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The parts' states, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for part, values in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(values)
        self._gather()

    def _gather(self) -> None:
        """Show the parts' own groups and state, so that a schedule that sets rates here sets them there."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        self.state.clear()
        for part in self.parts:
            self.state.update(part.state)


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """An optimiser over all parameters that are trained; biases, norms and other vectors are not decayed."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if config.muon is None:
        return _adamw(trained, config)
    matrices = [
        p for name, p in model.named_parameters() if p.requires_grad and p.dim() == 2 and "blocks." in name
    ]
    chosen = {id(p) for p in matrices}
    others = [p for p in trained if id(p) not in chosen]
    return Together(_muon(matrices, config.muon), _adamw(others, config))


def _adamw(parameters: list[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.peak_rate, betas=config.betas, fused=True)


def _muon(matrices: list[nn.Parameter], config: MuonConfig) -> torch.optim.Optimizer:
    return torch.optim.Muon(
        matrices,
        lr=config.peak_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        ns_steps=config.iterations,
        adjust_lr_fn="match_rms_adamw",
    )
