"""A pass's counts: parameters, bytes, multiply-accumulates, state and traffic, by component.

Nothing is timed here and nothing depends on the machine. One streaming step of the real module runs under the
meter (see `meter`), on whatever numbers: what is counted does not depend on them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn
from torch.utils import _pytree as pytree

from leanformer.compress.fuse import fused_config
from leanformer.config import EncoderConfig, ModelConfig
from leanformer.export.packing import StatePacking
from leanformer.features.spec import FeatureSpec
from leanformer.layers.streaming import Context
from leanformer.model import NUM_BINS, SpeechModel
from leanformer.profile.components import COMPONENTS, components_of
from leanformer.profile.meter import FLOAT_BYTES, Meter, Work

PRECISIONS = ("fp32", "int8")
_SCALE_BYTES = 4 + 1  # of each output channel of an int8 matrix: a scale, and a zero point
FRAME_MS = FeatureSpec().shift_ms


@dataclass(frozen=True)
class Weight:
    """A tensor of the model that a step reads, once in memory however many layers share it."""

    name: str
    component: str
    parameters: int
    """Its size if it was trained, 0 for other stored numbers."""
    fp32_bytes: int
    int8_bytes: int
    """In the int8 graph, where matrices have one byte a number and all else keeps four."""

    def bytes(self, precision: str) -> int:
        """Its size in one precision."""
        return self.int8_bytes if precision == "int8" else self.fp32_bytes


@dataclass(frozen=True)
class Counts:
    """What one step of a pass takes, of which there is one in every `chunk_ms`.

    `reads` are indices into `weights`, in the order of reading.
    """

    chunk_ms: float
    weights: tuple[Weight, ...]
    reads: tuple[int, ...]
    work: dict[str, Work]
    state_bytes: dict[str, int]

    @property
    def steps_per_second(self) -> float:
        """Steps in a second of audio."""
        return 1000.0 / self.chunk_ms

    @cached_property
    def parameters(self) -> int:
        """Trained numbers, shared ones counted once."""
        return sum(weight.parameters for weight in self.weights)

    def weight_bytes(self, precision: str, component: str | None = None) -> int:
        """Bytes of all weights, or of a component's."""
        return sum(w.bytes(precision) for w in self.weights if component in (None, w.component))

    @property
    def macs_per_second(self) -> float:
        """Multiply-accumulates for a second of audio."""
        return self.steps_per_second * sum(work.macs for work in self.work.values())


def count(config: ModelConfig, chunk_ms: float, left_context: int) -> Counts:
    """The counts of a model's first pass in streaming, with `left_context` encoder frames kept.

    A model with `norm = "batch"` is counted as what it becomes when its BatchNorms are fused.
    """
    return count_first(counted_model(config), chunk_ms, left_context)


def counted_model(config: ModelConfig) -> SpeechModel:
    """The model that runs, with random weights: what is counted does not depend on them."""
    if config.encoder.norm == "batch":
        config = fused_config(config)
    with torch.random.fork_rng(devices=()):
        return SpeechModel(config).eval()


def count_first(model: SpeechModel, chunk_ms: float, left_context: int) -> Counts:
    """As `count`, of a model that is there."""
    encoder = model.config.encoder
    frames = round(chunk_ms / FRAME_MS)
    state = model.initial_state(1, Context(frames // encoder.subsampling.factor, left_context))
    x, lengths = torch.zeros(1, frames, NUM_BINS), torch.tensor([frames])
    state_bytes = _state_bytes(state.layers, encoder, front_end=state.subsampling)
    return _count(model, chunk_ms, lambda: model(x, lengths, state), state_bytes, "front_end")


def count_second(model: SpeechModel) -> Counts:
    """The counts of the second pass, with the output layer; there must be one. A step is a chunk of its own.

    The state is what its layers remember, and the frames that wait for their future (`lookahead`).
    """
    second, config = model.second, model.config
    assert second is not None
    chunk = second.config.chunk_size
    state = second.initial_state(1)
    x = torch.zeros(1, chunk + second.lookahead, config.encoder.model_dim)
    lengths = torch.tensor([chunk])

    def step() -> None:
        y, _ = second.advance(x, lengths, lengths + second.lookahead, state.layers)
        model.log_probs(y)

    chunk_ms = chunk * config.encoder.subsampling.factor * FRAME_MS
    waiting = (state.pending, state.waiting)
    state_bytes = _state_bytes(state.layers, config.second_layers, lookahead=waiting)
    return _count(model, chunk_ms, step, state_bytes, "output")


@torch.no_grad()
def _count(
    model: SpeechModel,
    chunk_ms: float,
    step: Callable[[], object],
    state_bytes: dict[str, int],
    outermost: str,
) -> Counts:
    """`outermost` is the component of what a step does outside all modules."""
    components = components_of(model) | {model: outermost}
    with Meter(model, components) as meter:
        step()
    reading = meter.reading
    weights = _weights(model, components, set(reading.reads), reading.matrices)
    place = {weight.name: index for index, weight in enumerate(weights)}
    work = {name: reading.work[name] for name in COMPONENTS if name in reading.work or _has(weights, name)}
    reads = tuple(place[name] for name in reading.reads)
    return Counts(chunk_ms, weights, reads, work, state_bytes)


def _has(weights: tuple[Weight, ...], component: str) -> bool:
    return any(weight.component == component for weight in weights)


def _weights(
    model: nn.Module, components: dict[nn.Module, str], used: set[str], matrices: set[str]
) -> tuple[Weight, ...]:
    trained = {name for name, _ in model.named_parameters()}
    owner = {
        f"{path}.{name}".lstrip("."): components[module]
        for path, module in model.named_modules()
        for name in (*module._parameters, *module._buffers)
    }
    weights = []
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in used:
            size = tensor.numel()
            fp32 = FLOAT_BYTES * size
            int8 = size + _SCALE_BYTES * tensor.shape[0] if name in matrices else fp32
            weights.append(Weight(name, owner[name], size if name in trained else 0, fp32, int8))
    return tuple(weights)


def _state_bytes(states: tuple[object, ...], layers: EncoderConfig, **others: object) -> dict[str, int]:
    """Bytes of the states of layers and of `others` by component, as a runtime keeps them.

    That is in float32, and a counter that layers agree on only once.
    """
    paths = [path for path, _ in pytree.tree_flatten_with_path(states)[0]]
    sizes = {name: FLOAT_BYTES * sum(leaf.numel() for leaf in pytree.tree_leaves(other))
             for name, other in others.items()}  # fmt: skip
    for packed in StatePacking(states).tensors:
        name = _component_at(layers, paths[packed.leaves[0]])
        sizes[name] = sizes.get(name, 0) + FLOAT_BYTES * int(torch.Size(packed.shape).numel())
    return {name: sizes[name] for name in COMPONENTS if sizes.get(name)}


def _component_at(layers: EncoderConfig, path: tuple[pytree.KeyEntry, ...]) -> str:
    """The component of a sublayer's state, which is at [depth][place]..."""
    depth, place = (key.idx for key in path[:2] if isinstance(key, pytree.SequenceKey))
    sublayer = layers.blocks[layers.layer_map[depth]].order[place]
    return {"ffn": "feed_forward", "attention": "attention", "conv": "convolution"}[sublayer]
