"""From a bundle back to weights that can be trained on.

A graph holds its weights transposed, scaled, widened, and under names that the exporter made up. Rather than undo
each pass, the bundle's own recipe is exported once more with random weights: wherever one of these, which are
known, turns up in that graph, the bundle's graph holds the weight that is looked for, changed in the same way.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from leanformer.config import ModelConfig
from leanformer.errors import ExportError
from leanformer.export.graph import export_step
from leanformer.export.quantize import quantize
from leanformer.export.steps import SecondStep, StatefulStep, Step
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel

Array = NDArray[np.float32]
_QUANTIZED, _SCALE = "_quantized", "_scale"
_NEAR = 0.02
"""Probing weights lie between 0.5 and 1.5: seven bits change them by 0.012 at most, and no two tensors are as alike."""


def recover_weights(
    graph: onnx.ModelProto, config: ModelConfig, context: Context, second: onnx.ModelProto | None = None
) -> dict[str, Tensor]:
    """The state of the `SpeechModel` of which `graph` is the export, without what a graph does not hold, such as
    the outputs of exits.

    Args:
        graph: the float32 graph of a bundle, or its int8 graph; then weights are what its seven bits tell.
        config: the model's, with its vocabulary size.
        context: that which the graph was traced for.
        second: likewise the graph of the second pass, if the model has one; without it, its weights are left out.

    Raises:
        ExportError: a graph is not what this version of Leanformer exports for such a model.
    """
    probe = SpeechModel(config).eval()
    known = _randomize(probe)
    weights = _read(graph, Step(probe, context), known)
    if second is not None:
        weights = _read(second, SecondStep(probe), known) | weights
    return weights


def _read(graph: onnx.ModelProto, step: StatefulStep, known: Mapping[str, Array]) -> dict[str, Tensor]:
    """The weights of `graph`, from the places that the `known` ones take in the graph of `step`."""
    traced = export_step(step)
    if any(tensor.name.endswith(_QUANTIZED) for tensor in graph.graph.initializer):
        traced, _ = quantize(traced)
    found, given = _constants(traced), _constants(graph)
    if found.keys() != given.keys() or any(given[name].shape != array.shape for name, array in found.items()):
        raise ExportError(
            "the graph is not what this version of Leanformer exports for a trained model of its recipe, so its "
            "weights cannot be told apart; go on from the checkpoint that it was made of"
        )
    weights = {}
    for name, value in known.items():
        array = _find(value, found, given)
        if array is not None:
            weights[name] = torch.from_numpy(array)
    return weights


def _find(value: Array, found: Mapping[str, Array], given: Mapping[str, Array]) -> Array | None:
    """What stands in `given` where `value` stands in `found`, whole or, as a loop over it is unrolled, row by row."""
    for place, flipped, scale in _places(value, found):
        array = given[place]
        array = (array.T if flipped else array) / np.float32(scale)
        return array.reshape(value.shape).copy()
    if value.ndim < 2:
        return None
    rows = [row for row in (_find(row, found, given) for row in value) if row is not None]
    return np.stack(rows) if len(rows) == len(value) else None


def _randomize(model: SpeechModel) -> dict[str, Array]:
    """Give every parameter and feature statistic random values, in place, and return them by name."""
    generator = torch.Generator().manual_seed(0)
    state = model.state_dict()
    values = {
        name: torch.rand(value.shape, generator=generator) + 0.5
        for name, value in state.items()
        if value.is_floating_point()
    }
    model.load_state_dict({**state, **values})
    # Read back: a module that has two names has one value.
    return {name: value.numpy() for name, value in model.state_dict().items() if name in values}


def _constants(model: onnx.ModelProto) -> dict[str, Array]:
    """The float constants of a graph by name; int8 weights times their scales."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    constants: dict[str, Array] = {}
    for name, array in arrays.items():
        stem = name.removesuffix(_QUANTIZED)
        if stem != name:
            constants[stem] = array.astype(np.float32) * arrays[stem + _SCALE]
        elif array.dtype == np.float32 and not name.endswith(_SCALE):
            constants[name] = array
    return constants


def _places(value: Array, constants: Mapping[str, Array]) -> Iterator[tuple[str, bool, float]]:
    """Constants that are `value` times a number, with or without a transposition: (name, transposed, number)."""
    flat = value.ravel()
    for name, array in constants.items():
        if array.size != flat.size:
            continue
        for flipped in (False, True)[: array.ndim]:
            other = (array.T if flipped else array).ravel()
            # The passes of an export scale by powers of two only.
            scale = 2.0 ** np.round(np.log2(other.mean() / flat.mean())) if other.mean() > 0.0 else 1.0
            if np.abs(other / scale - flat).max() < _NEAR:
                yield name, flipped, float(scale)
