"""The losses of one batch of outputs: of each pass, by each decoder, with the weights that a recipe gives them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from leanformer.model import Outputs, SpeechModel
from leanformer.train.objective import exits_loss
from leanformer.train.recipe import ObjectiveConfig


@dataclass(frozen=True)
class Loss:
    """One summand: `value` is in nats per target token."""

    name: str
    weight: float
    value: Tensor


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
