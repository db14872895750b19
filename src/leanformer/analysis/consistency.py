"""Layer consistency (arXiv 2105.00812), measured: how alike the layers of an encoder are on real speech.

For every pair of depths, linear CKA and the Frechet distance of `similarity.py`. What distance there is between
samples of the same distribution is measured, too, between two random halves of the frames of each layer: the floor,
below which a distance between layers means nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from leanformer.analysis.similarity import frechet_distance, linear_cka
from leanformer.analysis.subject import Subject, layer_outputs
from leanformer.data.loader import TrainingBatch
from leanformer.errors import DataError
from leanformer.features.fbank import Fbank
from leanformer.layers.masks import valid_frames


@dataclass(frozen=True)
class Consistency:
    """Matrices over depths 1 to L, and the floor of the distance at each depth; `frames` were looked at."""

    frames: int
    full_context: bool
    cka: list[list[float]]
    frechet: list[list[float]]
    frechet_floor: list[float]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with the means over pairs of different layers."""
        depth = len(self.cka)
        pairs = [(i, j) for i in range(depth) for j in range(i)]
        means = {
            f"mean_{name}": sum(matrix[i][j] for i, j in pairs) / len(pairs) if pairs else None
            for name, matrix in (("cka", self.cka), ("frechet", self.frechet))
        }
        return {"depths": list(range(1, depth + 1)), **means, **asdict(self)}


def measure(subject: Subject, batches: Iterable[TrainingBatch], frames: int, full: bool) -> Consistency:
    """Compare all layers of an encoder on at most about `frames` encoder frames of some speech.

    Raises:
        DataError: there are fewer frames than two sets of features can be compared by.
    """
    layers = gather(subject, batches, frames, full)
    count, dim = layers[0].shape
    if count < 2 * dim:
        raise DataError(
            f"{count} encoder frames are too few to compare features of {dim} dimensions; give more speech"
        )
    halves = torch.randperm(count, generator=torch.Generator().manual_seed(0)).chunk(2)
    floor = [frechet_distance(layer[halves[0]], layer[halves[1]]) for layer in layers]
    return Consistency(count, full, _pairwise(layers, linear_cka), _pairwise(layers, frechet_distance), floor)


def in_words(one: Consistency) -> str:
    """A line for a person."""
    told = one.to_dict()
    if told["mean_cka"] is None:
        return "one layer, with no other to compare it with"
    floor = sum(one.frechet_floor) / len(one.frechet_floor)
    return (
        f"mean CKA {told['mean_cka']:.3f}, mean Frechet distance {told['mean_frechet']:.3f} "
        f"(floor {floor:.4f}), {one.frames} frames"
    )


def gather(subject: Subject, batches: Iterable[TrainingBatch], frames: int, full: bool) -> list[Tensor]:
    """Frames spread evenly over all valid ones, the same for each layer: (n, D) by depth."""
    fbank = Fbank()
    found: list[list[Tensor]] = [[] for _ in range(subject.depth)]
    for batch in batches:
        features, lengths = fbank(batch.waveforms, batch.lengths)
        outputs, lengths = layer_outputs(subject, features, lengths, full)
        valid = valid_frames(lengths, outputs[1].shape[1])
        for layer, (_, x) in zip(found, sorted(outputs.items()), strict=True):
            layer.append(x[valid])
    if not found[0]:
        raise DataError("no recording is left to analyse; name other data, or another split")
    joined = [torch.cat(layer) for layer in found]
    count = len(joined[0])
    kept = torch.linspace(0, count - 1, min(frames, count)).round().long()
    return [layer[kept] for layer in joined]


def _pairwise(layers: Sequence[Tensor], compare: Callable[[Tensor, Tensor], float]) -> list[list[float]]:
    """A symmetric comparison of all pairs."""
    matrix = [[0.0] * len(layers) for _ in layers]
    for i, one in enumerate(layers):
        for j, other in enumerate(layers[: i + 1]):
            matrix[i][j] = matrix[j][i] = compare(one, other)
    return matrix
