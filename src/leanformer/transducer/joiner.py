"""The joiner: frames and what was said so far, to logits of the next token.

    logits = W tanh(A encoder_out + B predictor_out + b) + c

A and B run once for each frame and each label; only what follows runs for pairs of them. W may be the predictor's
embedding (Botros et al. 2021, arXiv 2109.07513). Token 0 is the blank; `factorization.py` says how the logits are
read.
"""

import torch
from torch import Tensor, nn

from leanformer.config import TransducerConfig
from leanformer.transducer import factorization


class Joiner(nn.Module):
    """Shapes: encoder_out (..., D), predictor_out (..., P), both projected to (..., J), logits (..., V)."""

    def __init__(
        self,
        encoder_dim: int,
        config: TransducerConfig,
        vocabulary_size: int,
        embedding: nn.Embedding | None = None,
    ) -> None:
        """Use the weights of `embedding` (V, J) as output weights; without one, have own ones."""
        super().__init__()
        self.factorization = config.factorization
        self.vocabulary_size = vocabulary_size
        # Without a bias, an encoder that says nothing is 0 after the projection as before it.
        self.encoder_projection = nn.Linear(encoder_dim, config.joint_dim, bias=False)
        self.predictor_projection = nn.Linear(config.predictor_dim, config.joint_dim)
        self.output = nn.Linear(config.joint_dim, vocabulary_size)
        if embedding is not None:
            self.output.weight = embedding.weight

    def project_encoder(self, encoder_out: Tensor) -> Tensor:
        """(..., D) -> (..., J)."""
        projected: Tensor = self.encoder_projection(encoder_out)
        return projected

    def project_predictor(self, predictor_out: Tensor) -> Tensor:
        """(..., P) -> (..., J)."""
        projected: Tensor = self.predictor_projection(predictor_out)
        return projected

    def forward(self, encoder: Tensor, predictor: Tensor) -> Tensor:
        """Projected parts (..., J), which broadcast, to logits (..., V)."""
        logits: Tensor = self.output(torch.tanh(encoder + predictor))
        return logits

    def log_probs(self, encoder: Tensor, predictor: Tensor) -> Tensor:
        """Projected parts (..., J), which broadcast, to log-probabilities (..., V), float32 or finer."""
        return factorization.log_probs(self(encoder, predictor), self.factorization)

    def label_log_probs(self, predictor: Tensor) -> Tensor:
        """The internal language model: projected (..., J) to (..., V - 1), of the labels from 1 on.

        The labels' softmax with no encoder (Variani et al. 2020, section 4); of a `softmax` joiner, an
        approximation of the same.
        """
        return factorization.label_log_probs(self.output(torch.tanh(predictor)))
