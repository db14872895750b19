"""The model that is pre-trained: the unchanged encoder with an objective on top.

Its weights have the names that they have in a SpeechModel, `encoder.*` and the feature statistics, so that
`leanformer train --from` takes them over; the objective's are left behind.
"""

from typing import Any

import torch
from torch import Tensor, nn

from leanformer.config import EncoderConfig
from leanformer.encoder.encoder import Encoder, EncoderState
from leanformer.layers.streaming import Context
from leanformer.model import NUM_BINS
from leanformer.pretrain.best_rq import BestRQ, BestRQConfig
from leanformer.pretrain.objective import Judged
from leanformer.pretrain.reconstruction import Reconstruction, ReconstructionConfig
from leanformer.pretrain.targets import normalize_utterances, stack_frames


class PretrainModel(nn.Module):
    """Encoder and objective; features (B, T, 80) in, a judgement of the hidden frames out."""

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, encoder: EncoderConfig, objective: ReconstructionConfig | BestRQConfig) -> None:
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(NUM_BINS))
        self.register_buffer("feature_std", torch.ones(NUM_BINS))
        self.encoder = Encoder(encoder, NUM_BINS)
        self.factor = encoder.subsampling.factor
        self.objective = make_objective(encoder.model_dim, self.factor * NUM_BINS, objective)

    def normalize(self, features: Tensor) -> Tensor:
        """The encoder's own input, by global mean and variance: a stream cannot wait for an utterance's."""
        return (features - self.feature_mean) / self.feature_std

    def encode(
        self, normalized: Tensor, lengths: Tensor, context: Context, depth: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Whole utterances (B, T, 80) -> (B, T', D) and lengths (B,), by the first `depth` layers (default: all)."""
        state = self.encoder.initial_state(normalized.shape[0], context)
        state = EncoderState(state.subsampling, state.layers[:depth])
        found, lengths, _ = self.encoder.forward_exits(normalized, lengths, state)
        last = len(state.layers)
        return self.encoder.final(found[last], lengths, last), lengths

    def judge(self, encoded: Tensor, features: Tensor, lengths: Tensor, hidden: Tensor) -> Judged:
        """Judge what the encoder made of features of which frames were hidden.

        Args:
            encoded: (B, T', D).
            features: (B, T, 80) as the filter bank gave them, nothing hidden.
            lengths: (B,) feature frames.
            hidden: (B, T') booleans.
        """
        targets = stack_frames(normalize_utterances(features, lengths), self.factor)
        judged: Judged = self.objective(encoded, targets, lengths // self.factor, hidden)
        return judged


def make_objective(dim: int, target_dim: int, config: ReconstructionConfig | BestRQConfig) -> Any:
    """The objective that a config names."""
    match config:
        case ReconstructionConfig():
            return Reconstruction(dim, target_dim, config)
        case BestRQConfig():
            return BestRQ(dim, target_dim, config)
