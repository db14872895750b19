"""The losses of one batch of outputs: of each pass, by each decoder, with the weights that a recipe gives them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from leanformer.model import Outputs, SpeechModel
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.expected_errors import expected_errors
from leanformer.train.objective import exits_loss
from leanformer.train.recipe import ExpectedErrorsConfig, ObjectiveConfig


@dataclass(frozen=True)
class Loss:
    """One summand: `value` is in nats per target token, or for expected errors in errors per word."""

    name: str
    weight: float
    value: Tensor
    figure: Tensor | None = None
    """What to show of it, where the value says nothing."""

    @property
    def shown(self) -> Tensor:
        """The figure for the curves."""
        return self.value.detach() if self.figure is None else self.figure


def losses(
    model: SpeechModel,
    out: Outputs,
    targets: Tensor,
    target_lengths: Tensor,
    objective: ObjectiveConfig,
    ctc: Callable[[Tensor], Tensor],
) -> Iterator[Loss]:
    """Each loss that has any weight.

    Args:
        model: whose outputs they are.
        out: of the whole batch.
        targets: (B, U) token ids.
        target_lengths: (B,).
        objective: the weights.
        ctc: the loss of log-probabilities (B, T, V) on these targets.
    """
    second = objective.second_weight
    if objective.ctc_weight > 0.0:
        yield Loss("ctc", objective.ctc_weight, ctc(out.log_probs))
        if out.second is not None and second > 0.0:
            yield Loss("second", objective.ctc_weight * second, ctc(out.second))
        if out.exits:
            weight = objective.ctc_weight * objective.exit_weight
            yield Loss("exits", weight, exits_loss(out, targets, target_lengths))
    if model.transducer is not None and objective.transducer_weight > 0.0:
        passes = {"transducer": (1.0, out.encoded), "second_transducer": (second, out.second_encoded)}
        for name, (share, encoded) in passes.items():
            if encoded is not None and share > 0.0:
                value = model.transducer.loss(encoded, out.lengths, targets, target_lengths)
                yield Loss(name, objective.transducer_weight * share, value)


def error_losses(
    out: Outputs,
    wanted: Sequence[str],
    tokenizer: Tokenizer,
    objective: ObjectiveConfig,
    config: ExpectedErrorsConfig,
    generator: torch.Generator,
) -> Iterator[Loss]:
    """The expected word errors of each pass; shown is the error rate of its best labels.

    Args:
        out: of the whole batch.
        wanted: B texts, "" for a row that does not count.
        tokenizer: of the labels.
        objective: for the weight of the second pass.
        config: of this loss.
        generator: of the draws.
    """
    passes = {"errors": (1.0, out.log_probs), "second_errors": (objective.second_weight, out.second)}
    for name, (share, log_probs) in passes.items():
        if log_probs is not None and share > 0.0:
            found = expected_errors(
                log_probs, out.lengths, wanted, tokenizer.decode, config.window, config.samples, generator
            )
            yield Loss(name, config.weight * share, found.loss, found.greedy)
