"""A pre-training recipe: everything that decides what a run does, in one TOML. Parts are those of `train/recipe.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from leanformer.config import EncoderConfig, Frozen, ModelConfig
from leanformer.config_toml import from_dict, read_toml
from leanformer.config_types import IntRange
from leanformer.data.batching import BatchConfig
from leanformer.presets import with_preset
from leanformer.pretrain.best_rq import BestRQConfig
from leanformer.pretrain.masking import MaskingConfig
from leanformer.pretrain.reconstruction import ReconstructionConfig
from leanformer.train.overrides import merged
from leanformer.train.recipe import ContextConfig, OptimizerConfig, ScheduleConfig

ObjectiveConfig = Annotated[ReconstructionConfig | BestRQConfig, Field(discriminator="kind")]


class AudioConfig(Frozen):
    """Which recordings to read from the data folders; transcripts are not asked for."""

    splits: tuple[str, ...] = ("train", "unlabelled")
    """A recording without a split counts as "train"; "all" takes everything."""
    dev_split: str = "dev"
    exclude: tuple[str, ...] = ()
    """Names of corpora (folders) to leave out."""


class PretrainRecipe(Frozen):
    """One run of pre-training."""

    name: str
    seed: NonNegativeInt = 0
    encoder: EncoderConfig = EncoderConfig()
    objective: ObjectiveConfig = BestRQConfig()
    masking: MaskingConfig = MaskingConfig()
    depths: IntRange | None = None
    """Each step draws how many layers run, uniformly from the first of the two to the second (arXiv 2105.00812); left
    out, all layers always run."""
    audio: AudioConfig = AudioConfig()
    batch: BatchConfig = BatchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    context: ContextConfig = ContextConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    @field_validator("objective", mode="before")
    @classmethod
    def _best_rq_by_default(cls, value: Any) -> Any:
        return {"kind": "best_rq", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.audio.splits:
            raise ValueError("audio.splits must name at least one split")
        if self.optimizer.freeze_norms_step is not None:
            raise ValueError(
                "optimizer.freeze_norms_step is of `train`; pre-training keeps its norms moving, leave it out"
            )
        self._check_depths()
        return self

    def _check_depths(self) -> None:
        if self.depths is None:
            return
        depth, known = self.encoder.depth, ModelConfig(encoder=self.encoder).output_depths
        if self.depths[1] > depth:
            raise ValueError(f"depths goes up to {self.depths[1]}, but the encoder has 1 to {depth} layers")
        if not set(self.drawn_depths) <= set(known):
            raise ValueError(
                f"depths draws from {self.depths[0]} to {self.depths[1]}, but encoder.exits allows outputs only at "
                f"{', '.join(map(str, known))}; leave exits out, or change depths"
            )

    @property
    def drawn_depths(self) -> tuple[int, ...]:
        """The depths of which each step draws one."""
        if self.depths is None:
            return (self.encoder.depth,)
        return tuple(range(self.depths[0], self.depths[1] + 1))


def load_pretrain_recipe(path: Path, changes: Sequence[str] = ()) -> PretrainRecipe:
    """Read a recipe; each change is "dotted.key=value", as in `train.overrides.load_recipe`.

    A preset that is named gives its encoder.

    Raises:
        ConfigError: naming the file, the key, what was found, and what was expected.
    """
    values = merged(read_toml(path), changes)
    source = f"{path} with --set {' '.join(changes)}" if changes else str(path)
    if "preset" in values:
        own = {"preset": values.pop("preset"), "model": {"encoder": values.get("encoder", {})}}
        values["encoder"] = with_preset(own, source)["model"]["encoder"]
    return from_dict(PretrainRecipe, values, source)
