"""A training recipe: everything that decides what a run does, in one TOML."""

from typing import Literal, Self

from pydantic import NonNegativeInt, model_validator

from leanformer.config import Frozen, ModelConfig
from leanformer.config_types import NotNegative, Positive, PositiveInt, Share
from leanformer.data.batching import BatchConfig
from leanformer.data.noise import NoiseConfig
from leanformer.features.augmentation import SpecAugmentConfig


class CorporaConfig(Frozen):
    """Which utterances to read from the data folders."""

    train_split: str = "train"
    train_hours: Positive | None = None
    """Train on so many hours only, of all speakers and corpora alike; what is drawn for 1 is part of what is for 2."""
    hours_seed: NonNegativeInt = 0
    """Which hours these are; apart from the run's seed, so that runs that differ in that learn from the same ones."""
    dev_split: str = "dev"
    exclude: tuple[str, ...] = ()
    """Names of corpora (folders) to leave out."""
    alignments: tuple[str, ...] = ()
    """Files of `leanformer align`, for the phone head; looked for in the data folders too."""


class TokenizerConfig(Frozen):
    """The output units, trained from the transcripts unless `path` gives a tokenizer."""

    kind: Literal["unigram", "bpe", "char"] = "unigram"
    vocabulary_size: PositiveInt = 256
    sentences: NonNegativeInt = 0
    """Lines of `text.files` to train it on besides the transcripts."""
    path: str = ""


class AugmentConfig(Frozen):
    """Disturbances of the training data; the dev data stays as it is."""

    speeds: tuple[float, ...] = (1.0, 0.9, 1.1)
    noise: NoiseConfig = NoiseConfig()
    spec: SpecAugmentConfig = SpecAugmentConfig()


class MuonConfig(Frozen):
    """Muon, for the matrices of the blocks; its steps are scaled to the size of AdamW's (Liu et al. 2025)."""

    peak_rate: NotNegative = 6e-3
    momentum: Share = 0.95
    weight_decay: NotNegative = 0.05
    iterations: PositiveInt = 3
    """Newton-Schulz iterations of the orthogonalisation."""


class OptimizerConfig(Frozen):
    """AdamW with linear warm-up, a plateau, and a linear decay to zero at the end; Muon goes by the same curve."""

    peak_rate: NotNegative = 1e-3
    warmup_steps: PositiveInt = 1000
    decay_steps: PositiveInt = 2000
    """Length of the final decay; a run that is to go on later resumes from before it."""
    restarts: tuple[PositiveInt, ...] = ()
    """Steps before which the rate decays too, and from which it begins anew, with a warm-up: one for each stage."""
    weight_decay: NotNegative = 1e-2
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: NotNegative = 5.0
    average_decay: Share = 0.999
    """Of the exponential moving average of the weights, which is what is evaluated and exported."""
    freeze_norms_step: NonNegativeInt | None = None
    """From this step on, BatchNorms normalise by their running statistics, as they do in use, and these stay. Layers
    that share a BatchNorm need it: each has other statistics, and until then uses its own."""
    muon: MuonConfig | None = None
    """Given, it trains the matrices of the blocks, and AdamW all else."""


class ContextConfig(Frozen):
    """Dynamic chunk training: each batch draws its attention context, in encoder frames."""

    chunk_sizes: tuple[PositiveInt, ...] = (4, 8, 16)
    left_contexts: tuple[PositiveInt, ...] = (32, 64)
    full_probability: Share = 0.25
    """Of seeing the whole utterance instead."""
    dev_chunk_size: PositiveInt = 8
    dev_left_context: PositiveInt = 64


class ExpectedErrorsConfig(Frozen):
    """The expected word errors of greedy search as a further loss (Graves & Jaitly 2014): for the end of a run."""

    weight: NotNegative = 1.0
    """Beside CTC, whose gradient it is to steer, not to drown."""
    start_step: NonNegativeInt = 0
    """Not before most words are right: until then CTC teaches more."""
    window: PositiveInt = 12
    """Encoder frames that are drawn anew at a time, about a word."""
    samples: PositiveInt = 4
    """Draws of each window in a step."""


class ObjectiveConfig(Frozen):
    """CTC and a transducer on the output, CTC by choice at exits; cross-entropy on aligned phones at the phone head."""

    phone_weight: NotNegative = 0.5
    ctc_start_step: NonNegativeInt = 0
    """Before this, CTC has no weight: on its first plateau, its gradient only disturbs what phones teach."""
    ctc_ramp_steps: NonNegativeInt = 0
    """Steps in which its weight then grows from 0 to 1."""
    exit_weight: NotNegative = 0.0
    """Of the mean CTC loss at the model's exits below the last layer run, beside that at the last."""
    ctc_weight: NotNegative = 1.0
    transducer_weight: NotNegative = 1.0
    """Of the transducer's loss, for a model that has one. Both decoders read the same encoder."""
    second_weight: NotNegative = 1.0
    """Of the losses on the second pass, beside those on the first; for a model that has one."""
    freeze_first: bool = False
    """Train the second pass alone, on top of a first pass that stays as it is, with the output layer of both."""
    expected_errors: ExpectedErrorsConfig | None = None
    """Given, the expected word errors of CTC's greedy words are trained too, on speech and text."""
    sample_depth: bool = False
    """Draw in each step how many layers run, uniformly from 1 to all of them (arXiv 2105.00812). Drawn are only
    depths at which an output may be taken: the model's exits if it names any, and none below the phone head."""


class TextConfig(Frozen):
    """Text injection: text alone, in the model's own phone posteriors, for the layers above the phone head."""

    files: tuple[str, ...] = ()
    """Paths or patterns of .txt or .txt.xz files, looked for in the data folders too; none turns this off."""
    weight: NotNegative = 1.0
    start_step: NonNegativeInt = 1000
    """By then the posteriors should mean something."""
    alone_steps: NonNegativeInt = 0
    """For so many steps text alone is trained, and no speech: a cheap way to learn many words."""
    placed_steps: NonNegativeInt = 1000
    """For so many steps the loss is cross-entropy on the known alignment, before it is CTC."""
    clarity: tuple[Share, Share] = (0.0, 1.0)
    """Each row mixes its posteriors with the right phones by a share drawn between these two. While the model
    hears poorly, spelling is learnt from the clear rows."""
    clear_steps: NonNegativeInt = 0
    """For so many steps from `start_step`, clarity falls to nothing, in proportion; 0 keeps it as it is."""
    rows: PositiveInt = 8
    frames: PositiveInt = 150
    """Encoder frames of a row, at most."""


class ScheduleConfig(Frozen):
    """How long, and how often to look."""

    max_steps: PositiveInt = 20_000
    dev_every_steps: PositiveInt = 1000
    checkpoint_minutes: NotNegative = 5.0


class Recipe(Frozen):
    """One run. `model.vocabulary_size` is set from the tokenizer."""

    name: str
    seed: NonNegativeInt = 0
    model: ModelConfig = ModelConfig()
    corpora: CorporaConfig = CorporaConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    augment: AugmentConfig = AugmentConfig()
    batch: BatchConfig = BatchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    context: ContextConfig = ContextConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    text: TextConfig = TextConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.augment.speeds[:1] != (1.0,):
            raise ValueError("augment.speeds must begin with 1.0, the undisturbed speed")
        if self.model.phone_head is not None and not self.corpora.alignments:
            raise ValueError("model.phone_head needs corpora.alignments; make one with `leanformer align`")
        if self.text.files and (self.model.phone_head is None or not self.model.phone_head.condition):
            raise ValueError("text.files needs model.phone_head with condition = true: text enters there")
        if self.objective.freeze_first and self.model.second is None:
            raise ValueError("objective.freeze_first leaves nothing to train without a [model.second]")
        if self.objective.ctc_weight == 0.0 and (
            self.model.transducer is None or self.objective.transducer_weight == 0.0
        ):
            raise ValueError(
                "objective.ctc_weight = 0 leaves no output to train without a [model.transducer]"
            )
        if self.objective.expected_errors is not None and self.objective.ctc_weight == 0.0:
            raise ValueError("objective.expected_errors needs CTC, whose words it counts; set ctc_weight")
        self._check_exits()
        return self

    def _check_exits(self) -> None:
        model, objective = self.model, self.objective
        below = model.encoder.exits[:-1]
        if objective.exit_weight > 0.0 and not below:
            raise ValueError("objective.exit_weight needs model.encoder.exits below the last layer")
        if objective.sample_depth and len(drawable_depths(model)) < 2:
            raise ValueError(
                f"objective.sample_depth has nothing to draw but depth {model.encoder.depth}; it needs "
                'model.exit_heads = "shared", or model.encoder.exits above the phone head'
            )
        own = "own" in (model.exit_heads, model.encoder.final_projection)
        if below and own and objective.exit_weight == 0.0 and not objective.sample_depth:
            raise ValueError(
                f"model.encoder.exits at {', '.join(map(str, below))} have outputs of their own, which nothing would "
                "train; set objective.exit_weight or objective.sample_depth"
            )


def drawable_depths(model: ModelConfig, above_phones: bool = False) -> tuple[int, ...]:
    """Depths that `objective.sample_depth` draws from: those of outputs, from the phone head's on, or above it."""
    least = 1 if model.phone_head is None else model.phone_head.depth + above_phones
    return tuple(depth for depth in model.output_depths if depth >= least)
