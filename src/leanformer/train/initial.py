"""Starting a run from the weights of another: fine-tuning, or going on after a pass such as `swap_attention`."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from leanformer.errors import ConfigError, MissingExtraError
from leanformer.model import SpeechModel
from leanformer.runtime.bundle import DEFAULT, Bundle
from leanformer.runtime.manifest import FILE_NAME
from leanformer.text.tokenizer import Tokenizer
from leanformer.train.checkpoint import find_checkpoint, is_recogniser, read_checkpoint
from leanformer.train.text_injection import TextSpeaker

_LOG = logging.getLogger(__name__)
_PREFIX = "model."
_HEADS = "encoder.taps."
_SHOWN = 5


@dataclass(frozen=True)
class Initial:
    """What a run may begin with: the averages of a checkpoint's weights, as in evaluation, or those of a bundle."""

    source: str
    weights: Mapping[str, Tensor]
    tokenizer: Tokenizer | None
    """None after pre-training, which writes nothing down."""
    bank: Mapping[str, Any] | None
    """The posteriors that a `TextSpeaker` had gathered, if any."""


def read_initial(path: Path) -> Initial:
    """Read a checkpoint of `train` or `pretrain`, the best one (on dev) of a run's folder, or a bundle.

    "default" is the bundle that ships.

    Raises:
        CheckpointError, BundleError: it is none of these, or damaged.
        ConfigError: the bundle was exported by a version with which this one has too little in common.
        MissingExtraError: reading a bundle needs the extra [export].
    """
    if str(path) == DEFAULT or (path / FILE_NAME).is_file():
        try:
            # Here, not above: only this needs what exports need.
            from leanformer.train.initial_bundle import read_bundle
        except ModuleNotFoundError as error:
            raise MissingExtraError((error.name or "onnx").split(".")[0], "export") from error
        return Initial(*read_bundle(Bundle.open(str(path))), bank=None)
    path = find_checkpoint(path)
    stored = read_checkpoint(path)
    weights = {
        name.removeprefix(_PREFIX): value
        for name, value in stored["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    tokenizer = Tokenizer.from_bytes(stored["tokenizer"]) if is_recogniser(stored) else None
    return Initial(str(path), weights, tokenizer, stored.get("posterior_bank"))


def take_weights(model: SpeechModel, initial: Initial, partial: bool = False) -> None:
    """Give `model` every weight that has the same name and shape in both; the others stay fresh.

    What one of the two lacks is told on the log. Without `partial`, that may be outputs, a phone head and a second
    pass, but no layer of the encoder: half of it trained and half not is seldom what was meant.

    Raises:
        ConfigError: the encoders differ, or with `partial`, nothing of them fits.
    """
    own, found = model.state_dict(), initial.weights
    fitting = {name: found[name] for name in own if name in found and found[name].shape == own[name].shape}
    fresh, unused = [n for n in own if n not in fitting], [n for n in found if n not in fitting]
    differing = {
        name: f"{name} ({_size(found.get(name))} there, {_size(own.get(name))} in the recipe)"
        for name in (*unused, *fresh)
        if name.startswith("encoder.") and not name.startswith(_HEADS)
    }
    told = _listed(tuple(differing.values()))
    if not any(name.startswith("encoder.blocks.") and value.dim() > 1 for name, value in fitting.items()):
        raise ConfigError(
            f"{initial.source}: no weight of this model fits the recipe's encoder: {told}; give one that was trained "
            "with blocks of the same sizes, or make the recipe's [model.encoder] like it (--partial would find nothing)"
        )
    if differing and not partial:
        raise ConfigError(
            f"{initial.source}: its encoder is not the recipe's: {told}; make the recipe's [model.encoder] like it, or "
            "add --partial to take over what fits"
        )
    model.load_state_dict({**own, **fitting})
    _LOG.info("%s: %d of %d tensors taken over", initial.source, len(fitting), len(own))
    for names, fate in ((fresh, "begin afresh"), (unused, "are not used")):
        if names:
            _LOG.info("  %s %s", _listed(names), fate)


def _size(value: Tensor | None) -> str:
    return "none" if value is None else "x".join(map(str, value.shape)) or "a number"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def take_bank(speaker: TextSpeaker | None, initial: Initial) -> None:
    """Give the speaker the posteriors that the other model had gathered, if both have any."""
    if speaker is not None and initial.bank is not None:
        speaker.bank.load_state_dict(dict(initial.bank))
