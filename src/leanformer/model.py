"""SpeechModel: feature normalisation, encoder and CTC output; features in, log-probabilities out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanformer.config import ModelConfig, PhoneHeadConfig
from leanformer.encoder.cascade import Cascade, SecondPass
from leanformer.encoder.encoder import Encoder, EncoderState
from leanformer.errors import ConfigError
from leanformer.layers.streaming import Context
from leanformer.transducer.transducer import Transducer

NUM_BINS = 80
BLANK_ID = 0
NUM_PHONES = 41
"""39 ARPAbet phones and silence, numbered from 1; class 0 is an unlabelled frame and is never trained."""
PHONE_SLOT_FRAMES = 4
"""Feature frames (10 ms each) that share one phone label."""


@dataclass(frozen=True)
class Outputs:
    """`log_probs` (B, T', V), `lengths` (B,), and `phone_logits` (B, T', slots, NUM_PHONES)."""

    log_probs: Tensor
    lengths: Tensor
    phone_logits: Tensor | None
    """None without a phone head."""
    exits: Mapping[int, Tensor] = field(default_factory=dict)
    """`log_probs` at the exits below, by depth, if they were asked for."""
    second: Tensor | None = None
    """`log_probs` of the second pass, if there is one."""
    encoded: Tensor | None = None
    """What the first pass gave, (B, T', D): a transducer reads it."""
    second_encoded: Tensor | None = None
    """What the second pass gave, if there is one."""


class PhoneHead(nn.Module):
    """Classifies frames as phones and, by choice, feeds the posteriors back to the layers above.

    H x + W softmax(C x): self-conditioning (Nozaki & Komatsu 2021, eq. 9), with phones from a forced alignment
    in place of an intermediate CTC, and H, which starts from zero, in place of the identity. Phones are shorter
    than a frame after subsampling by 8, so a frame has `slots` of PHONE_SLOT_FRAMES feature frames, each with a
    phone of its own. Shapes: (B, T, D) -> (B, T, D).
    """

    def __init__(self, dim: int, slots: int, config: PhoneHeadConfig) -> None:
        super().__init__()
        self.slots = slots
        self.config = config
        self.classify = nn.Linear(dim, slots * NUM_PHONES)
        self.condition = nn.Linear(slots * NUM_PHONES, dim) if config.condition else None
        if self.condition is not None:
            # A posterior is near one-hot: what it tells is then about as loud as a normalised frame.
            nn.init.normal_(self.condition.weight, std=slots**-0.5)
            nn.init.zeros_(self.condition.bias)
        self.hear = None
        if config.condition and config.hide_audio < 1.0:
            # From nothing: layers that text has taught go on as they are, and learn to listen bit by bit.
            self.hear = nn.Linear(dim, dim, bias=False)
            nn.init.zeros_(self.hear.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The layer output with what the head makes of it added."""
        if self.condition is None:
            return x
        posteriors = self.logits(x).softmax(dim=-1)
        told = self.tell(posteriors.detach() if self.config.stop_gradient else posteriors)
        if self.hear is None:
            return told
        heard: Tensor = self.hear(x)
        if self.training and self.config.hide_audio > 0.0:
            shown = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.config.hide_audio
            heard = heard * shown.to(heard.dtype)
        return told + heard

    def tell(self, posteriors: Tensor) -> Tensor:
        """What posteriors (B, T, slots, NUM_PHONES) add to the input of the layers above: (B, T, D)."""
        if self.condition is None:
            raise ValueError("this phone head does not condition the layers above it")
        told: Tensor = self.condition(posteriors.flatten(2))
        return told

    def logits(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, slots, NUM_PHONES)."""
        return torch.unflatten(self.classify(x), -1, (self.slots, NUM_PHONES))


class SpeechModel(nn.Module):
    """Log-mel features (B, T, 80) -> CTC log-probabilities (B, T', V), by the contract of `Streaming`."""

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("feature_mean", torch.zeros(NUM_BINS))
        self.register_buffer("feature_std", torch.ones(NUM_BINS))
        self.phone_head: PhoneHead | None = None
        taps: dict[int, nn.Module] = {}
        if config.phone_head is not None:
            slots = config.encoder.subsampling.factor // PHONE_SLOT_FRAMES
            self.phone_head = PhoneHead(config.encoder.model_dim, slots, config.phone_head)
            taps[config.phone_head.depth] = self.phone_head
        self.encoder = Encoder(config.encoder, NUM_BINS, taps)
        self.second = None if config.second is None else SecondPass(config.second, config.second_layers)
        self.output = nn.Linear(config.encoder.model_dim, config.vocabulary_size)
        self.transducer: Transducer | None = None
        if config.transducer is not None:
            self.transducer = Transducer(config.encoder.model_dim, config.transducer, config.vocabulary_size)
        own = config.encoder.exits[:-1] if config.exit_heads == "own" else ()
        self.exit_outputs = nn.ModuleDict(
            {str(depth): nn.Linear(config.encoder.model_dim, config.vocabulary_size) for depth in own}
        )

    def initial_state(self, batch_size: int, context: Context) -> EncoderState:
        """The encoder's state before the first frame; `context` counts encoder frames."""
        return self.encoder.initial_state(batch_size, context)

    def forward(self, x: Tensor, lengths: Tensor, state: EncoderState) -> tuple[Tensor, Tensor, EncoderState]:
        """Raw log-mel features -> log-probabilities of the first pass, lengths, state."""
        y, lengths, state = self.encode(x, lengths, state)
        return self.log_probs(y), lengths, state

    def encode(self, x: Tensor, lengths: Tensor, state: EncoderState) -> tuple[Tensor, Tensor, EncoderState]:
        """Raw log-mel features -> encoder output (B, T', D), lengths, state; the second pass reads it."""
        encoded: tuple[Tensor, Tensor, EncoderState] = self.encoder(self.normalize(x), lengths, state)
        return encoded

    def cascade(self) -> Cascade:
        """Both passes on normalised features; raises ConfigError if there is but one."""
        if self.second is None:
            raise ConfigError("this model has no second pass; train one with a [model.second] in the recipe")
        return Cascade(self.encoder, self.second)

    def normalize(self, features: Tensor) -> Tensor:
        """Global mean and variance normalisation of (B, T, 80)."""
        return (features - self.feature_mean) / self.feature_std

    def log_probs(self, encoder_out: Tensor, depth: int | None = None) -> Tensor:
        """CTC log-probabilities of encoder output (B, T', D) at a depth (by default the last), in float32."""
        return F.log_softmax(self.output_at(depth)(encoder_out).float(), dim=-1)

    def _exit(self, layers: Mapping[int, Tensor], lengths: Tensor, depth: int) -> Tensor:
        """Log-probabilities from the output of a layer, by its depth."""
        return self.log_probs(self.encoder.final(layers[depth], lengths, depth), depth)

    def output_at(self, depth: int | None = None) -> nn.Linear:
        """The CTC output layer at a depth, by default the last.

        Raises:
            ConfigError: exits have output layers of their own (`exit_heads`), and there is no exit at `depth`.
        """
        if depth in (None, self.config.encoder.depth) or self.config.exit_heads == "shared":
            return self.output
        if str(depth) not in self.exit_outputs:
            known = ", ".join(map(str, self.config.encoder.exits))
            raise ConfigError(
                f'there is no CTC output at depth {depth}: with exit_heads = "own" only the exits have one, which '
                f'are {known}; name one of these, or train with exit_heads = "shared"'
            )
        return self.exit_outputs[str(depth)]  # type: ignore[return-value]

    def train_outputs(
        self,
        normalized: Tensor,
        lengths: Tensor,
        context: Context,
        depth: int | None = None,
        with_exits: bool = False,
    ) -> Outputs:
        """Outputs of whole utterances for the losses: one large step from the initial state.

        Args:
            normalized: features (B, T, 80) after `normalize` (and whatever augmentation came between).
            lengths: (B,) valid frames.
            context: how far attention sees.
            depth: how many layers to run; by default all. Not less than the phone head's.
            with_exits: also give the log-probabilities at the exits below `depth`.
        """
        state = self.initial_state(normalized.shape[0], context)
        state = EncoderState(state.subsampling, state.layers[:depth])
        found, lengths, _ = self.encoder.forward_exits(normalized, lengths, state)
        phone_logits = None
        if self.phone_head is not None and self.config.phone_head is not None:
            phone_logits = self.phone_head.logits(found[self.config.phone_head.depth]).float()
        last = len(state.layers)
        exits = [exit for exit in self.config.encoder.exits if exit < last] if with_exits else []
        exit_probs = {exit: self._exit(found, lengths, exit) for exit in exits}
        return self._outputs(found[last], lengths, context, last, phone_logits, exit_probs)

    def _outputs(
        self,
        x: Tensor,
        lengths: Tensor,
        context: Context,
        depth: int,
        phone_logits: Tensor | None = None,
        exits: Mapping[int, Tensor] = MappingProxyType({}),
    ) -> Outputs:
        """All that is made of the last layer run; the second pass sees all if the first does, else its own context."""
        encoded = self.encoder.final(x, lengths, depth)
        log_probs = self.log_probs(encoded, depth)
        if self.second is None:
            return Outputs(log_probs, lengths, phone_logits, exits, encoded=encoded)
        full = context.chunk_size >= encoded.shape[1]
        second = self.second.whole(encoded, lengths, context if full else self.second.context)
        return Outputs(log_probs, lengths, phone_logits, exits, self.log_probs(second), encoded, second)

    def phone_outputs(self, normalized: Tensor, lengths: Tensor, context: Context) -> Tensor:
        """Phone logits (B, T', slots, P) alone: the layers above the head are not run."""
        if self.phone_head is None or self.config.phone_head is None:
            raise ValueError("this model has no phone head")
        depth = self.config.phone_head.depth
        state = self.initial_state(normalized.shape[0], context)
        x, lengths, _ = self.encoder.subsampling(normalized, lengths, state.subsampling)
        exits, _ = self.encoder.run_layers(x, lengths, state.layers[:depth])
        return self.phone_head.logits(exits[depth]).float()

    def text_outputs(
        self, posteriors: Tensor, lengths: Tensor, context: Context, depth: int | None = None
    ) -> Outputs:
        """Outputs of the layers above the phone head for posteriors (B, T', slots, P) without any audio.

        The last layer run is `depth`, above the phone head's; by default the last there is.
        """
        if self.phone_head is None or self.config.phone_head is None:
            raise ValueError("this model has no phone head")
        start, last = self.config.phone_head.depth, depth or self.config.encoder.depth
        states = self.initial_state(posteriors.shape[0], context).layers[start:last]
        found, _ = self.encoder.run_layers(self.phone_head.tell(posteriors), lengths, states, start=start)
        return self._outputs(found[last], lengths, context, last)
