"""The blocks of an encoder: weights shared by all depths that name the same block (layer sharing, ALBERT style).

Sharing is the layer map: depth l runs block `layer_map[l]`, with a state of its own (arXiv 2105.00812 ties all
layers: a map of one block). With `norm_per_depth` the depths of a block keep its linear and convolution weights
in common, yet each has norms of its own: there is a `Block` per depth then, whose other tensors are the very same
objects, so that `parameters()` gives, counts and optimises them once.
"""

from torch import nn

from leanformer.config import EncoderConfig
from leanformer.encoder.block import Block
from leanformer.layers.normalization import BatchNorm, LayerNorm

OWN = (BatchNorm, LayerNorm)
"""Modules that a depth may have for itself."""


def make_blocks(config: EncoderConfig) -> nn.ModuleList:
    """A block for each entry of `blocks`; with `norm_per_depth` one for each depth, tied but for the norms."""
    if not config.norm_per_depth:
        return nn.ModuleList(Block(block, config) for block in config.blocks)
    blocks = [Block(config.blocks[index], config) for index in config.layer_map]
    for depth, index in enumerate(config.layer_map):
        first = config.layer_map.index(index)
        if first < depth:
            tie(blocks[depth], blocks[first])
    return nn.ModuleList(blocks)


def block_index(config: EncoderConfig, depth: int) -> int:
    """Which of `make_blocks` runs at a depth (0 = the first layer)."""
    return depth if config.norm_per_depth else config.layer_map[depth]


def tie(block: nn.Module, first: nn.Module) -> None:
    """Give a block the parameters and buffers of another of the same kind, in place of its own, but for norms."""
    for name, source in first.named_modules():
        if isinstance(source, OWN):
            continue
        module = block.get_submodule(name)
        for tensor_name, parameter in source.named_parameters(recurse=False):
            setattr(module, tensor_name, parameter)
        for tensor_name, buffer in source.named_buffers(recurse=False):
            setattr(module, tensor_name, buffer)
