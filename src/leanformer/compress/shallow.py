"""Shallow inference (arXiv 2105.00812): the first layers of a model as a model of their own.

Where all layers share their weights, the outputs of different layers are distributed alike, so a model that was
trained at random depths may be cut off at any of them; one that was trained with losses at `exits`, at these. Cut
off elsewhere, a model gives outputs that nothing ever trained: the paper's control.
"""

import torch

from leanformer.config import ModelConfig
from leanformer.errors import CompressError
from leanformer.model import SpeechModel


def shallow(model: SpeechModel, depth: int) -> SpeechModel:
    """A new model of the first `depth` layers, with the output layer that the given model has there.

    Left out are blocks that no longer run, exits beyond `depth`, a phone head that would no longer feed any layer, and
    below the full depth a second pass, which was trained on what the last layer gives. Outputs are, bit for bit, those
    that `train_outputs(..., depth=depth)` of the given model has.

    Raises:
        CompressError: an output cannot be taken at `depth`: there is no such layer, or exits are declared
            (or outputs own) and it is none of them.
    """
    known = model.config.output_depths
    if depth not in known:
        raise CompressError(
            f"a model of {model.config.encoder.depth} layers cannot be cut off at depth {depth}: outputs may be "
            f"taken at {_in_words(known)}; name one of these, or train with encoder.exits that has {depth}"
        )
    with torch.random.fork_rng(devices=()):
        cut = SpeechModel(shallow_config(model.config, depth))
    given = model.state_dict()
    cut.load_state_dict({name: given[_source(name, model.config, depth)] for name in cut.state_dict()})
    return cut.to(model.feature_mean).train(model.training)


def shallow_config(config: ModelConfig, depth: int) -> ModelConfig:
    """The config of `shallow`, from that of the model to be cut off."""
    encoder, head = config.encoder, config.phone_head
    kept = _kept_blocks(config, depth)
    useful = head is not None and (head.depth < depth or (head.depth == depth and not head.condition))
    cut = {
        "blocks": tuple(encoder.blocks[index] for index in kept),
        "layer_map": tuple(kept.index(index) for index in encoder.layer_map[:depth]),
        "exits": tuple(exit for exit in encoder.exits if exit <= depth),
    }
    update = {
        "encoder": encoder.model_copy(update=cut),
        "phone_head": head if useful else None,
        "second": config.second if depth == encoder.depth else None,
    }
    return ModelConfig.model_validate(config.model_copy(update=update).model_dump())


def _kept_blocks(config: ModelConfig, depth: int) -> list[int]:
    """Indices of the blocks that run before `depth`, in their order."""
    return sorted(set(config.encoder.layer_map[:depth]))


def _source(name: str, config: ModelConfig, depth: int) -> str:
    """The tensor of the given model that becomes `name` in the one cut off."""
    full = depth == config.encoder.depth
    if name.startswith("output.") and config.exit_heads == "own" and not full:
        return name.replace("output.", f"exit_outputs.{depth}.", 1)
    blocks = "encoder.blocks."
    if name.startswith(blocks) and not config.encoder.norm_per_depth:
        index, rest = name.removeprefix(blocks).split(".", 1)
        return f"{blocks}{_kept_blocks(config, depth)[int(index)]}.{rest}"
    return name


def _in_words(depths: tuple[int, ...]) -> str:
    if len(depths) > 2 and depths == tuple(range(1, len(depths) + 1)):
        return f"1 to {len(depths)}"
    return ", ".join(map(str, depths))
