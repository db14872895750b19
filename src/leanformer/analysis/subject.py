"""The encoder to be analysed, out of a checkpoint of `train` or of `pretrain`, and what each of its layers gives."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from leanformer.errors import ConfigError
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel
from leanformer.pretrain.checkpoint import load_pretrained
from leanformer.pretrain.model import PretrainModel
from leanformer.train.checkpoint import find_checkpoint, is_recogniser, load_trained, read_checkpoint
from leanformer.train.recipe import ContextConfig


@dataclass(frozen=True)
class Subject:
    """An encoder in evaluation mode.

    Attributes:
        path: the checkpoint.
        model: normalises features and has the encoder.
        streaming: the context that its dev passes had.
        step: how long it was trained.
    """

    path: Path
    model: SpeechModel | PretrainModel
    streaming: ContextConfig
    step: int

    @property
    def depth(self) -> int:
        """Number of layers that run."""
        return self.model.encoder.config.depth

    @property
    def factor(self) -> int:
        """Feature frames in an encoder frame."""
        return self.model.encoder.subsampling.factor

    def context(self, frames: int, full: bool) -> Context:
        """How far attention sees, in inputs of at most `frames` encoder frames."""
        if full:
            return Context(max(1, frames), 0)
        return Context(self.streaming.dev_chunk_size, self.streaming.dev_left_context)

    def require_depths(self, depths: tuple[int, ...]) -> tuple[int, ...]:
        """The depths asked for, in order; all if none are.

        Raises:
            ConfigError: there is no such layer.
        """
        for depth in depths:
            if not 1 <= depth <= self.depth:
                raise ConfigError(
                    f"depth {depth}: {self.path} has layers 1 to {self.depth}; name some of these"
                )
        return tuple(sorted(set(depths))) or tuple(range(1, self.depth + 1))


def load_subject(path: Path) -> Subject:
    """Read a checkpoint, or the best one (on dev) of a run's folder.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    path = find_checkpoint(path)
    if is_recogniser(read_checkpoint(path)):
        trained = load_trained(path)
        return Subject(path, trained.model, trained.recipe.context, trained.step)
    pretrained = load_pretrained(path)
    return Subject(path, pretrained.model, pretrained.recipe.context, pretrained.step)


@torch.no_grad()
def layer_outputs(
    subject: Subject, features: Tensor, lengths: Tensor, full: bool
) -> tuple[dict[int, Tensor], Tensor]:
    """What every layer gives for whole utterances: (B, T', D) by depth, and the encoder's lengths (B,).

    Args:
        subject: the encoder.
        features: (B, T, 80) as the filter bank gives them.
        lengths: (B,) valid frames.
        full: let attention see all of each utterance.
    """
    encoder = subject.model.encoder
    context = subject.context(-(-features.shape[1] // subject.factor), full)
    state = encoder.initial_state(features.shape[0], context)
    x, lengths, _ = encoder.subsampling(subject.model.normalize(features), lengths, state.subsampling)
    found, _ = encoder.run_layers(x, lengths, state.layers, also=range(1, subject.depth + 1))
    return found, lengths
