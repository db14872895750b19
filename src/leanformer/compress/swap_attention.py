"""Swapping the attention of a trained model (Practical Conformer: US patent 12,190,869, arXiv 2304.00171).

Linear attention learns slowly from nothing. So a model is trained with softmax attention, its attention is swapped
for a Performer that keeps the query, key, value and output projections, and the whole is fine-tuned.
"""

from collections.abc import Iterable
from typing import Literal

import torch

from leanformer.config import (
    AttentionConfig,
    BlockConfig,
    EncoderConfig,
    ModelConfig,
    PerformerAttentionConfig,
    SoftmaxAttentionConfig,
)
from leanformer.errors import CompressError
from leanformer.model import SpeechModel

KINDS = ("performer", "softmax")
_PERFORMERS_OWN = (".forgetting", ".directions")
"""The tensors of a Performer that softmax attention does not have."""


def swap_attention(
    model: SpeechModel,
    kind: Literal["performer", "softmax"] = "performer",
    *,
    features: int = 64,
    blocks: Iterable[int] | None = None,
    seed: int = 0,
) -> SpeechModel:
    """A new model with attention of another kind and all weights that both have; the given one is not changed.

    It computes something else, and is the start of a fine-tuning. A model swapped back, untrained, is the first
    one bit for bit. A second pass keeps the attention that it has.

    Args:
        model: the model, in training or evaluation mode, which the new one is in as well.
        kind: what the attention shall be.
        features: random features per head of a Performer.
        blocks: which entries of `encoder.blocks` to swap (0 is the first); by default all that have attention
            of the other kind.
        seed: of the random features.

    Raises:
        CompressError: `kind` is unknown, `features` is not positive, a block is not there, has no attention, or
            has attention of this kind already; or there is nothing to swap.
    """
    config = swapped_config(model.config, kind, features=features, blocks=blocks, seed=seed)
    with torch.random.fork_rng(devices=()):  # the first weights are not kept, so drawing them leaves no trace
        swapped = SpeechModel(config).to(model.feature_mean)
    weights, fresh = model.state_dict(), swapped.state_dict()
    unlike = [name for name in weights.keys() ^ fresh.keys() if not name.endswith(_PERFORMERS_OWN)]
    if unlike:
        raise CompressError(
            f"the model is not what its config builds: {min(unlike)} is in one of them only; "
            "give a model as training or another pass made it"
        )
    swapped.load_state_dict(fresh | {name: weights[name] for name in weights.keys() & fresh.keys()})
    return swapped.train(model.training)


def swapped_config(
    config: ModelConfig,
    kind: Literal["performer", "softmax"] = "performer",
    *,
    features: int = 64,
    blocks: Iterable[int] | None = None,
    seed: int = 0,
) -> ModelConfig:
    """The config of a model after `swap_attention`, with the same arguments and errors."""
    if kind not in KINDS:
        raise CompressError(f"kind = {kind!r} is no attention; known are {', '.join(KINDS)}")
    if features < 1 or seed < 0:
        raise CompressError(
            f"features = {features} and seed = {seed}: there must be at least one feature, and no negative seed"
        )
    old = config.encoder.blocks
    if blocks is None:
        chosen = {
            i for i, block in enumerate(old) if "attention" in block.order and block.attention.kind != kind
        }
    else:
        chosen = set(blocks)
    if not chosen:
        raise CompressError(f"nothing to swap: no block has attention of another kind than {kind}")
    for index in sorted(chosen):
        _require_swappable(old, index, kind)
    new = tuple(
        block.model_copy(update={"attention": _attention(kind, block.attention.heads, features, seed)})
        if index in chosen
        else block
        for index, block in enumerate(old)
    )
    encoder = EncoderConfig.model_validate({**dict(config.encoder), "blocks": new})
    return ModelConfig.model_validate({**dict(config), "encoder": encoder})


def _require_swappable(blocks: tuple[BlockConfig, ...], index: int, kind: str) -> None:
    if not 0 <= index < len(blocks):
        raise CompressError(
            f"there is no block {index}: encoder.blocks has {len(blocks)}, 0 to {len(blocks) - 1}"
        )
    block = blocks[index]
    if "attention" not in block.order:
        raise CompressError(
            f"block {index} has no attention to swap (its order is {', '.join(block.order)}); leave it out"
        )
    if block.attention.kind == kind:
        raise CompressError(f"the attention of block {index} is {kind} already; leave it out")


def _attention(kind: str, heads: int, features: int, seed: int) -> AttentionConfig:
    if kind == "performer":
        return PerformerAttentionConfig(heads=heads, features=features, seed=seed)
    return SoftmaxAttentionConfig(heads=heads)
