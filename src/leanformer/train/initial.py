"""Starting a run from the weights of another: fine-tuning, or going on after a pass such as `swap_attention`."""

import logging
from pathlib import Path
from typing import Any

from leanformer.errors import ConfigError
from leanformer.model import SpeechModel
from leanformer.train.text_injection import TextSpeaker

_LOG = logging.getLogger(__name__)
_PREFIX = "model."
_SHOWN = 5


def take_weights(model: SpeechModel, stored: dict[str, Any], source: Path) -> None:
    """Give `model` every tensor of a checkpoint that has the same name and shape in it; the others stay fresh.

    Weights are the averages, as in evaluation. What one of the two lacks is told on the log.

    Raises:
        ConfigError: nothing fits, so `source` is a model of another kind.
    """
    found = {
        name.removeprefix(_PREFIX): value
        for name, value in stored["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    own = model.state_dict()
    fitting = {name: found[name] for name in own if name in found and found[name].shape == own[name].shape}
    if not any(name.startswith("encoder.blocks.") and value.dim() > 1 for name, value in fitting.items()):
        raise ConfigError(
            f"{source}: no weight of this checkpoint fits the recipe's encoder; give one that was trained with "
            "blocks of the same sizes, or change the recipe"
        )
    model.load_state_dict({**own, **fitting})
    _LOG.info("%s: %d of %d tensors taken over", source, len(fitting), len(own))
    fresh, unused = [n for n in own if n not in fitting], [n for n in found if n not in fitting]
    for names, fate in ((fresh, "begin afresh"), (unused, "are not used")):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            _LOG.info("  %s%s %s", ", ".join(names[:_SHOWN]), more, fate)


def take_bank(speaker: TextSpeaker | None, stored: dict[str, Any]) -> None:
    """Give the speaker the posteriors that the checkpoint's model had gathered, if both have any."""
    if speaker is not None and "posterior_bank" in stored:
        speaker.bank.load_state_dict(stored["posterior_bank"])
