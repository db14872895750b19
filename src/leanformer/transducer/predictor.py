"""The predictor: what was said so far, as a vector for each next token.

Like every streaming layer it takes its state in and gives the next one out. The blank, id 0, is never said, so it
doubles as the symbol before the first token.
"""

from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanformer.config import TransducerConfig
from leanformer.layers.masks import valid_frames
from leanformer.layers.streaming import state

START_ID = 0
"""The blank's id."""

S = TypeVar("S")


class Predictor(Protocol[S]):
    """What the model asks of a predictor. It begins with START_ID, then hears every token said."""

    embedding: nn.Embedding

    def initial_state(self, batch_size: int) -> S:
        """The state of `batch_size` streams before START_ID."""
        ...

    def __call__(self, tokens: Tensor, state: S) -> tuple[Tensor, S]:
        """Tokens (B, U) -> outputs (B, U, P), each after its token and those before, and the state after all."""
        ...


@state
class StatelessState:
    """`tokens` (B, context - 1), int64: those just before the next."""

    tokens: Tensor


class StatelessPredictor(nn.Module):
    """The last `context` tokens: embeddings weighted by place and channel, added up, swish, layer norm.

    A depthwise convolution over embeddings, in the spirit of the reduced decoder of Botros et al. 2021 (arXiv
    2109.07513), whose weights by place come from position vectors. Shapes: (B, U) -> (B, U, P).
    """

    def __init__(self, vocabulary_size: int, dim: int, context: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.context = context
        self.embedding = make_embedding(vocabulary_size, dim)
        self.dropout = nn.Dropout(dropout)
        # All places alike at first, and a sum as loud as one embedding.
        self.places = nn.Parameter(torch.full((context, dim), context**-0.5))
        self.norm = nn.LayerNorm(dim)

    def initial_state(self, batch_size: int) -> StatelessState:
        """START_ID at all places."""
        shape = batch_size, self.context - 1
        return StatelessState(torch.full(shape, START_ID, device=self.places.device))

    def forward(self, tokens: Tensor, state: StatelessState) -> tuple[Tensor, StatelessState]:
        """See `Predictor.__call__`."""
        seen = torch.cat([state.tokens, tokens], dim=1)  # (B, context - 1 + U)
        embedded = self.dropout(embed(self.embedding, seen))
        windows = embedded.unfold(1, self.context, 1)  # (B, U, P, context)
        summed = (windows * self.places.T).sum(dim=-1)
        return self.norm(F.silu(summed)), StatelessState(seen[:, tokens.shape[1] :])


@state
class LstmState:
    """`hidden` (B, P) and `cell` (B, P), of the weights' type."""

    hidden: Tensor
    cell: Tensor


class LstmPredictor(nn.Module):
    """All tokens so far, in one LSTM layer (Graves 2012). Shapes: (B, U) -> (B, U, P)."""

    def __init__(self, vocabulary_size: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = make_embedding(vocabulary_size, dim)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        self.norm = nn.LayerNorm(dim)

    def initial_state(self, batch_size: int) -> LstmState:
        """Zeros."""
        zeros = self.embedding.weight.new_zeros(batch_size, self.embedding.embedding_dim)
        return LstmState(zeros, zeros)

    def forward(self, tokens: Tensor, state: LstmState) -> tuple[Tensor, LstmState]:
        """See `Predictor.__call__`."""
        embedded = self.dropout(embed(self.embedding, tokens))
        given = state.hidden[None], state.cell[None]
        y, (hidden, cell) = self.lstm(embedded, given)
        # Autocast may have rounded them, and a stream's state keeps one type.
        following = LstmState(hidden[0].to(state.hidden.dtype), cell[0].to(state.cell.dtype))
        return self.norm(y), following


def make_predictor(config: TransducerConfig, vocabulary_size: int) -> Predictor[Any]:
    """The predictor that the config asks for."""
    if config.predictor == "lstm":
        return LstmPredictor(vocabulary_size, config.predictor_dim, config.dropout)
    return StatelessPredictor(vocabulary_size, config.predictor_dim, config.context, config.dropout)


def predictor_input(targets: Tensor, target_lengths: Tensor) -> Tensor:
    """START_ID, then the targets: (B, U) -> (B, U + 1). Padding, which may hold anything, becomes START_ID."""
    spoken = valid_frames(target_lengths, targets.shape[1])
    return F.pad(targets.masked_fill(~spoken, START_ID), (1, 0), value=START_ID)


def make_embedding(vocabulary_size: int, dim: int) -> nn.Embedding:
    """An embedding as loud as output weights should be; `embed` makes it as loud as an input should."""
    embedding = nn.Embedding(vocabulary_size, dim)
    nn.init.normal_(embedding.weight, std=dim**-0.5)
    return embedding


def embed(embedding: nn.Embedding, tokens: Tensor) -> Tensor:
    """(B, U) -> (B, U, P) of about unit variance, so that the weights may be output weights as well."""
    embedded: Tensor = embedding(tokens) * embedding.embedding_dim**0.5
    return embedded
