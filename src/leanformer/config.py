"""Frozen, nested, validated configuration of a model.

An encoder is data: `blocks` are sets of weights, `layer_map` says which of them runs at each depth, `exits`
says at which depths an output may be taken. Construction validates; an unknown key fails and names the
nearest known one.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, field_validator, model_validator

from leanformer.config_types import NotNegative, PositiveInt, Probability, Share


class Frozen(BaseModel):
    """Base of every config: immutable, strictly typed, closed to unknown keys; numbers are finite.

    All of it holds for plain frozen dataclasses nested in one, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SoftmaxAttentionConfig(Frozen):
    """Chunked multi-head softmax attention with rotary positions."""

    kind: Literal["softmax"] = "softmax"
    heads: PositiveInt = 4


class PerformerAttentionConfig(Frozen):
    """Linear attention by random features, run as a recurrence with constant state (Choromanski et al. 2021)."""

    kind: Literal["performer"] = "performer"
    heads: PositiveInt = 4
    features: PositiveInt = 64
    """Random features per head."""
    seed: NonNegativeInt = 0
    """Of the random projection, which is stored in the model."""


AttentionConfig = Annotated[SoftmaxAttentionConfig | PerformerAttentionConfig, Field(discriminator="kind")]

SublayerName = Literal["ffn", "attention", "conv"]
NormName = Literal["layer", "batch", "batch_in_place", "none"]


class FoldConfig(Frozen):
    """Folding attention (arXiv 2309.07988): each frame becomes `factor` sub-tokens of width D / factor.

    Written as a number, `fold = 2` folds attention and feed-forward alike.
    """

    factor: Literal[1, 2, 4, 8] = 1
    attention: bool = True
    ffn: bool = True
    position: bool = True
    """Add a learned vector to each sub-token, which tells where in its frame it stands."""
    keep: Literal["heads", "head_dim"] = "head_dim"
    """What attention keeps as its width shrinks: the number of heads, or their width (then there are fewer)."""

    def of(self, sublayer: str) -> int:
        """The factor by which a sublayer is folded."""
        return self.factor if (sublayer, True) in (("attention", self.attention), ("ffn", self.ffn)) else 1


class BlockConfig(Frozen):
    """One set of block weights. `order` names its sublayers from input to output.

    A block with two feed-forwards gives each half weight (the Conformer's macaron form, Gulati et al. 2020).
    """

    order: tuple[SublayerName, ...] = ("ffn", "attention", "conv", "ffn")
    ffn_dim: PositiveInt = 768
    kernel_size: PositiveInt = 15
    attention: AttentionConfig = SoftmaxAttentionConfig()
    left_context: PositiveInt | None = None
    """Encoder frames that softmax attention looks back, at most; the stream's own left context by default."""
    fold: FoldConfig = FoldConfig()

    @field_validator("attention", mode="before")
    @classmethod
    def _softmax_by_default(cls, value: Any) -> Any:
        return {"kind": "softmax", **value} if isinstance(value, dict) else value

    @field_validator("fold", mode="before")
    @classmethod
    def _fold_by_number(cls, value: Any) -> Any:
        return {"factor": value} if isinstance(value, int) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.order:
            raise ValueError("order must name at least one sublayer")
        return self

    def check_width(self, dim: int) -> None:
        """Raise ValueError where the sublayers cannot divide `dim` channels as they should."""
        ffn, attention = self.fold.of("ffn"), self.fold.of("attention")
        if "ffn" in self.order and (dim % ffn or self.ffn_dim % ffn):
            raise ValueError(f"fold.factor {ffn} must divide model_dim {dim} and ffn_dim {self.ffn_dim}")
        if "attention" not in self.order:
            return
        if dim % attention:
            raise ValueError(f"fold.factor {attention} must divide model_dim {dim}")
        heads = self.folded_heads()
        if heads == 0 or self.attention.heads % (attention if self.fold.keep == "head_dim" else 1):
            raise ValueError(
                f"fold.factor {attention} must divide attention.heads {self.attention.heads}, "
                'or set fold.keep = "heads"'
            )
        if dim // attention % (2 * heads):
            width = f"model_dim {dim}" + (f" / fold.factor {attention}" if attention > 1 else "")
            raise ValueError(
                f"{width} must be a multiple of twice the heads ({heads}), as rotary positions turn pairs "
                "within a head"
            )

    def folded_heads(self) -> int:
        """Heads of the attention at its folded width."""
        keeps_heads = self.fold.keep == "heads"
        return self.attention.heads if keeps_heads else self.attention.heads // self.fold.of("attention")


class SubsamplingConfig(Frozen):
    """Convolutional subsampling in time by 4 or 8."""

    factor: Literal[4, 8] = 4
    channels: PositiveInt = 32


class EncoderConfig(Frozen):
    """The encoder: subsampling, then `layer_map` over `blocks`."""

    model_dim: PositiveInt = 192
    subsampling: SubsamplingConfig = SubsamplingConfig()
    blocks: tuple[BlockConfig, ...] = (BlockConfig(),) * 12
    layer_map: tuple[int, ...] = ()
    """Index into `blocks` for each depth; left out, every block runs once, in order."""
    exits: tuple[PositiveInt, ...] = ()
    """Depths (1 = after the first layer) whose output may be taken; the full depth is always the last."""
    norm: NormName = "layer"
    """`layer`: LayerNorm before each sublayer and at a block's end. `batch`: BatchNorm after every linear and
    convolution of the blocks (FusionFormer, arXiv 2210.17079), which `compress.fuse` folds into them.
    `batch_in_place` and `none` are that paper's controls: BatchNorm where LayerNorm stood, and no norm."""
    final_projection: Literal["none", "shared", "own"] | None = None
    """Between the last layer and whatever reads the encoder, one linear layer, with its BatchNorm if `norm` is
    `batch`: one for all exits, or for each its own. Left out, it is there exactly with `norm = "batch"`, whose blocks
    end without a norm: `own`, but `shared` where layers are."""
    norm_per_depth: bool = False
    """With `layer_map`: give each depth norms of its own, instead of one for each shared block."""
    activation: Literal["swish", "relu"] = "swish"
    conv_gate: Literal["glu", "none", "wide"] = "glu"
    """Of the convolution module: GLU; `none`, the activation at the same width; `wide`, the activation at twice
    the width."""
    dropout: Probability = 0.1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.blocks:
            raise ValueError("blocks must hold at least one block")
        # What was left out is filled in while the object is being made, before anyone can hold it.
        object.__setattr__(self, "layer_map", self.layer_map or tuple(range(len(self.blocks))))
        object.__setattr__(self, "exits", tuple(sorted({*self.exits, self.depth})))
        if self.final_projection is None:
            kind = "shared" if self.depth > len(self.blocks) else "own"
            object.__setattr__(self, "final_projection", kind if self.norm == "batch" else "none")
        if bad := [i for i in self.layer_map if not 0 <= i < len(self.blocks)]:
            raise ValueError(
                f"layer_map names block {bad[0]}, but blocks has {len(self.blocks)} (0 is the first)"
            )
        if unused := sorted(set(range(len(self.blocks))) - set(self.layer_map)):
            raise ValueError(f"block {unused[0]} is in blocks but nowhere in layer_map")
        if bad := [e for e in self.exits if e > self.depth]:
            raise ValueError(f"exits names depth {bad[0]}, but the encoder has {self.depth} layers")
        for block in self.blocks:
            block.check_width(self.model_dim)
        return self

    @property
    def depth(self) -> int:
        """Number of layers that run, shared weights counted as often as they run."""
        return len(self.layer_map)


class PhoneHeadConfig(Frozen):
    """An auxiliary head that classifies each encoder frame as a phone, at a lower depth."""

    depth: PositiveInt
    condition: bool = True
    """Feed the phone posteriors back into the encoder (self-conditioning, Nozaki & Komatsu 2021)."""
    stop_gradient: bool = False
    """Keep the losses above from changing the posteriors: the layers below then learn phones and nothing else."""
    hide_audio: Share = 0.0
    """Share of utterances, in training, whose upper layers see nothing but the posteriors. At 1 they never see
    anything else, in use neither: a bottleneck, through which what text taught applies to speech at once."""


class SecondPassConfig(Frozen):
    """More layers on the encoder's output, which see some of its future (cascaded encoders, arXiv 2010.14606).

    Frames are grouped into chunks; a frame sees its chunk, `lookahead` frames after that and `left_context` before,
    all counted in encoder frames. Width, norms, final projection, activation and dropout are the encoder's: one output
    serves both.
    """

    blocks: tuple[BlockConfig, ...] = (BlockConfig(),) * 4
    layer_map: tuple[int, ...] = ()
    """As in the encoder."""
    chunk_size: PositiveInt = 16
    lookahead: NonNegativeInt = 8
    left_context: PositiveInt = 64


Factorization = Literal["hat", "softmax"]


class TransducerConfig(Frozen):
    """A transducer's predictor and joiner (Graves 2012), and how it is trained."""

    predictor: Literal["stateless", "lstm"] = "stateless"
    context: PositiveInt = 2
    """Tokens that the stateless predictor sees; an LSTM sees all."""
    predictor_dim: PositiveInt = 256
    joint_dim: PositiveInt = 256
    tied: bool = True
    """Use the predictor's embedding as the joiner's output weights (Botros et al. 2021, arXiv 2109.07513)."""
    factorization: Factorization = "hat"
    """`softmax`: one over all tokens. `hat`: a sigmoid for the blank, a softmax over the labels (Variani et al. 2020,
    arXiv 2003.07705), which makes the internal language model known."""
    fast_emit: NotNegative = 0.0
    """Lambda of FastEmit (Yu et al. 2021, arXiv 2010.11148): the larger, the earlier tokens come, with more errors."""
    dropout: Probability = 0.1
    """Of the predictor's embedded tokens."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tied and self.predictor_dim != self.joint_dim:
            raise ValueError(
                f"predictor_dim {self.predictor_dim} must equal joint_dim {self.joint_dim}, or set tied = false: "
                "tied weights have one width"
            )
        return self


class ModelConfig(Frozen):
    """A recogniser: encoder, CTC output, and optionally a phone head, a second pass and a transducer."""

    vocabulary_size: PositiveInt = 128
    encoder: EncoderConfig = EncoderConfig()
    second: SecondPassConfig | None = None
    transducer: TransducerConfig | None = None
    exit_heads: Literal["shared", "own"] = "shared"
    """Whether all `encoder.exits` use one CTC output layer or each has its own."""
    phone_head: PhoneHeadConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        head = self.phone_head
        if head is not None and head.depth > self.encoder.depth:
            raise ValueError(
                f"phone_head.depth is {head.depth}, but the encoder has only {self.encoder.depth} layers"
            )
        if head is not None and head.condition and head.depth == self.encoder.depth:
            raise ValueError(
                f"phone_head.depth {head.depth} is the last layer, so its posteriors would reach no other; "
                "lower it, or set phone_head.condition = false"
            )
        if self.second is not None:
            self.second_layers  # noqa: B018 - raises ValueError if its blocks do not fit the encoder's width
        return self

    @property
    def second_layers(self) -> EncoderConfig:
        """The layers of the second pass as those of an encoder; there must be a second pass."""
        assert self.second is not None
        own = {"blocks": self.second.blocks, "layer_map": self.second.layer_map, "exits": ()}
        return EncoderConfig.model_validate({**dict(self.encoder), **own})

    @property
    def output_depths(self) -> tuple[int, ...]:
        """Depths at which an output may be taken: the exits.

        Where none but the last is named, and all layers may use the same output, these are all depths.
        """
        own = "own" in (self.exit_heads, self.encoder.final_projection)
        if own or len(self.encoder.exits) > 1:
            return self.encoder.exits
        return tuple(range(1, self.encoder.depth + 1))
