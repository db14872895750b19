"""A transducer's decoder as one part of a model: predictor, joiner, and the loss that trains them."""

from torch import Tensor, nn

from leanformer.config import TransducerConfig
from leanformer.transducer.joiner import Joiner
from leanformer.transducer.loss import transducer_loss
from leanformer.transducer.predictor import make_predictor, predictor_input


class Transducer(nn.Module):
    """Predictor and joiner for encoder outputs of width `encoder_dim`."""

    def __init__(self, encoder_dim: int, config: TransducerConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.predictor = make_predictor(config, vocabulary_size)
        tied = self.predictor.embedding if config.tied else None
        self.joiner = Joiner(encoder_dim, config, vocabulary_size, tied)

    def loss(self, encoder_out: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Mean of -log p over all target tokens, in nats; a row without frames counts for nothing.

        Args:
            encoder_out: (B, T, D).
            lengths: (B,) valid frames.
            targets: (B, U) token ids, padded with anything.
            target_lengths: (B,); 0 for a row in which nothing was said.
        """
        tokens = predictor_input(targets, target_lengths)
        predicted, _ = self.predictor(tokens, self.predictor.initial_state(len(tokens)))
        losses = transducer_loss(
            self.joiner, encoder_out, predicted, targets, lengths, target_lengths, self.config.fast_emit
        )
        return losses.sum() / (target_lengths * (lengths > 0)).sum().clamp(min=1)
