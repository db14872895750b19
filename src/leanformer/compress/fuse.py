"""Fusing BatchNorm into the weights before it (FusionFormer, arXiv 2210.17079): normalisation that costs nothing.

A BatchNorm with fixed statistics scales and shifts each channel, so behind a linear layer or a convolution W x + b it
is but other weights, in exact arithmetic the same function:

    s = weight / sqrt(variance + epsilon)        W' = diag(s) W        b' = s (b - mean) + bias
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from leanformer.config import EncoderConfig, ModelConfig
from leanformer.errors import CompressError
from leanformer.layers.convolution import Convolution
from leanformer.layers.linear import Linear
from leanformer.layers.normalization import BatchNorm
from leanformer.model import SpeechModel

_FUSED_PARTS = ("encoder.", "second.")
_OTHER_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d)


def fuse(model: SpeechModel) -> SpeechModel:
    """A new model in evaluation mode that computes the same without any BatchNorm; the given one is not changed.

    Its config has `norm = "none"` and builds exactly this model. Layers that share weights but not norms
    (`norm_per_depth`) no longer share anything: each depth then has a block of its own, and the model is larger.

    Raises:
        CompressError: the model is in training mode, has no BatchNorm, or has a norm that is not exactly a change of
            the weights before it; the message names the layer.
    """
    pairs = dict(_pairs(model))
    _require_fusable(model, pairs)
    state = model.state_dict()
    for norm_name, layer_name in pairs.items():
        norm = model.get_submodule(norm_name)
        assert isinstance(norm, BatchNorm)
        folded = fold(state[f"{layer_name}.weight"], state.get(f"{layer_name}.bias"), norm)
        state[f"{layer_name}.weight"], state[f"{layer_name}.bias"] = folded
        for name in norm.state_dict():
            del state[f"{norm_name}.{name}"]
        if not all(tensor.isfinite().all() for tensor in folded):
            raise CompressError(
                f"{norm_name}: fusing it gives weights that are NaN or infinite; "
                "its statistics are broken, so use an earlier checkpoint"
            )
    return _build(model, state)


def fused_config(config: ModelConfig) -> ModelConfig:
    """The config of a model after `fuse`."""
    encoder, second = config.encoder, config.second
    changes = {"norm": "none", "norm_per_depth": False}
    if encoder.norm_per_depth:
        changes |= _own_blocks(encoder)
        second = second and second.model_copy(update=_own_blocks(config.second_layers))
    fused = EncoderConfig.model_validate({**dict(encoder), **changes})
    return ModelConfig.model_validate({**dict(config), "encoder": fused, "second": second})


def _own_blocks(layers: EncoderConfig) -> dict[str, Any]:
    """What makes each depth's block its own."""
    blocks = tuple(layers.blocks[index] for index in layers.layer_map)
    return {"blocks": blocks, "layer_map": tuple(range(layers.depth))}


@torch.no_grad()
def fold(weight: Tensor, bias: Tensor | None, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Weight (C, ...) and bias (C,) of a layer with the norm behind it in them; computed in float64."""
    scale = norm.weight.double() * torch.rsqrt(norm.variance.double() + norm.epsilon)
    shift = norm.bias.double() - scale * norm.mean.double()
    folded = weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))
    moved = shift if bias is None else shift + scale * bias.double()
    return folded.to(weight.dtype), moved.to(weight.dtype)


def _pairs(model: nn.Module) -> Iterator[tuple[str, str]]:
    """For each BatchNorm that follows a linear layer or a convolution directly, its name and that layer's."""
    for name, module in model.named_modules():
        if isinstance(module, Linear) and module.norm is not None:
            yield f"{name}.norm", name
        elif isinstance(module, Convolution) and isinstance(module.norm, BatchNorm):
            yield f"{name}.norm", f"{name}.depthwise"


def _require_fusable(model: SpeechModel, pairs: dict[str, str]) -> None:
    training = [name or "the model" for name, module in model.named_modules() if module.training]
    if training:
        raise CompressError(
            f"{training[0]} is in training mode, where a BatchNorm's statistics are each batch's own; "
            "call model.eval() before fuse"
        )
    for name, module in model.named_modules():
        if not name.startswith(_FUSED_PARTS):
            continue
        if isinstance(module, BatchNorm) and name not in pairs:
            raise CompressError(
                f"{name} is a BatchNorm that does not follow a linear layer or a convolution, so it cannot be fused "
                'exactly; a model that can be is trained with encoder.norm = "batch"'
            )
        if isinstance(module, _OTHER_NORMS):
            raise CompressError(
                f"{name} is a {type(module).__name__}, which is no fixed change of weights, so it cannot be fused "
                'exactly; a model that can be is trained with encoder.norm = "batch"'
            )
    if not pairs:
        raise CompressError(
            f'nothing to fuse: no layer has a BatchNorm (encoder.norm = "{model.config.encoder.norm}"); '
            'train with encoder.norm = "batch"'
        )


def _build(model: SpeechModel, state: dict[str, Tensor]) -> SpeechModel:
    """The fused config's model with these weights, on the device of the given one; draws no random number."""
    device = model.feature_mean.device
    with torch.random.fork_rng(devices=[]):
        fused = SpeechModel(fused_config(model.config))
    try:
        fused.load_state_dict(state)
    except RuntimeError as error:
        raise CompressError(
            f"the model is not what its config builds, so its fused form cannot be built: {error}"
        ) from None
    return fused.to(device).eval()
