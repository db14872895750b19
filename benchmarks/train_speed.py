"""How many seconds of audio a second of training takes in, and what each choice that made it faster gains.

    python benchmarks/train_speed.py                      # all settings, the model of the default recipe
    python benchmarks/train_speed.py --threads 1 --only present "float32"
    python benchmarks/train_speed.py --set model.encoder.model_dim=256 --rounds 9

Audio is noise, of lengths as in read speech; batches are made as in training. Settings take turns, a few steps
each, and the median over the turns is shown, so that what else the machine does falls on all alike. A setting
"without X" has everything but X. CPU seconds tell more than seconds where the machine is busy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from leanformer.config_toml import from_dict
from leanformer.data.batching import BatchConfig
from leanformer.data.loader import BatchStream, Dataset, TrainingBatch
from leanformer.data.waveforms import Waveforms
from leanformer.features.augmentation import SpecAugment
from leanformer.features.fbank import Fbank
from leanformer.layers.attention import AttentionState, SoftmaxAttention
from leanformer.layers.dropout import LockedDropout
from leanformer.layers.masks import attention_mask
from leanformer.layers.position import rotary_angles, rotate
from leanformer.layers.streaming import last_frames
from leanformer.model import SpeechModel
from leanformer.train.objective import ctc_loss
from leanformer.train.overrides import merged
from leanformer.train.recipe import Recipe
from leanformer.train.schedule import draw_context

RATE = 16_000
UTTERANCES = 2000
TOKENS_PER_SECOND = 4.0
# The naive loop of the project's first measurements ran at 80-90 times real time, at d 176, 14 blocks, stride 8.
RECIPE = {
    "name": "speed",
    "model": {
        "vocabulary_size": 256,
        "encoder": {"subsampling": {"factor": 8}, "blocks": [{"repeat": 12, "ffn_dim": 768}]},
    },
    "batch": {"batch_seconds": 96.0, "buckets": 8, "max_seconds": 24.0},
}


@dataclass(frozen=True)
class Setting:
    """One way to train; the defaults are what `leanformer train` does."""

    name: str
    elementwise_dropout: bool = False
    torch_attention: bool = False
    plain_depthwise: bool = False
    autocast: bool = True
    fused_optimizer: bool = True
    fused_average: bool = True
    buckets: int | None = None
    grid_seconds: float | None = None


NAIVE = Setting(
    "naive",
    elementwise_dropout=True,
    torch_attention=True,
    plain_depthwise=True,
    fused_optimizer=False,
    fused_average=False,
    buckets=10_000,
    grid_seconds=0.01,
)
SETTINGS = (
    NAIVE,
    Setting("present"),
    Setting("without locked dropout", elementwise_dropout=True),
    Setting("without attention written out", torch_attention=True),
    Setting("without float32 depthwise subsampling", plain_depthwise=True),
    Setting("without fused AdamW", fused_optimizer=False),
    Setting("without fused averaging", fused_average=False),
    Setting("without bfloat16", autocast=False),
    Setting("4 padded lengths", buckets=4),
    Setting("32 padded lengths", buckets=32),
    Setting("a padded length for every utterance", buckets=10_000, grid_seconds=0.01),
)


class TorchAttention(SoftmaxAttention):
    """The same attention by torch's fused function."""

    def forward(
        self, x: Tensor, lengths: Tensor, state: AttentionState
    ) -> tuple[Tensor, Tensor, AttentionState]:
        """As in the layer."""
        size, left = x.shape[1], state.keys.shape[1]
        query, key, value = self.query_key_value(x, lengths).chunk(3, dim=-1)
        keys = torch.cat([state.keys.to(key.dtype), key], dim=1)
        values = torch.cat([state.values.to(value.dtype), value], dim=1)
        cos, sin = rotary_angles(left + size, self.head_dim, x.device)
        mask = attention_mask(size, state.chunk_size, left, state.filled, lengths)
        y = F.scaled_dot_product_attention(
            rotate(self._split(query), cos[left:], sin[left:]),
            rotate(self._split(keys), cos, sin),
            self._split(values),
            attn_mask=mask[:, None],
        )
        following = replace(
            state,
            keys=last_frames(keys, lengths, left),
            values=last_frames(values, lengths, left),
            filled=(state.filled + lengths).clamp(max=left),
        )
        return self.project(y.nan_to_num().transpose(1, 2).flatten(2), lengths), lengths, following


class Runner:
    """Trains a model in one setting, batch after batch."""

    def __init__(self, setting: Setting, recipe: Recipe) -> None:
        torch.manual_seed(0)
        self.setting, self.recipe = setting, recipe
        self.model = SpeechModel(recipe.model)
        self._adapt(self.model)
        parameters = list(self.model.parameters())
        fused = setting.fused_optimizer
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=fused, foreach=None if fused else False)
        self.fbank, self.augment = Fbank(), SpecAugment(recipe.augment.spec)
        self.average = AveragedModel(self.model, avg_fn=get_ema_avg_fn(0.999), use_buffers=True)
        self.weights = [value for value in self.model.state_dict().values() if value.is_floating_point()]
        self.averaged = [value.clone() for value in self.weights]
        batch = recipe.batch
        config = replace(
            batch,
            buckets=setting.buckets or batch.buckets,
            grid_seconds=setting.grid_seconds or batch.grid_seconds,
        )
        self.batches = self._endless(config)
        self.step = 0

    def _adapt(self, model: nn.Module) -> None:
        """Undo what the setting does without, in place: the weights stay the same."""
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, LockedDropout) and self.setting.elementwise_dropout:
                    setattr(module, name, nn.Dropout(child.probability))
            if isinstance(module, SoftmaxAttention) and self.setting.torch_attention:
                module.__class__ = TorchAttention
            if isinstance(module, nn.Conv2d) and self.setting.plain_depthwise:
                module.__class__ = nn.Conv2d

    def _endless(self, config: BatchConfig) -> Iterator[TrainingBatch]:
        stream = BatchStream(dataset(), config, self.recipe.augment.noise, seed=0)
        return stream.iterate(0, 1 << 30)

    def run(self, steps: int) -> tuple[float, float, float]:
        """Seconds of audio, seconds, and CPU seconds of some steps."""
        audio, start, cpu_start = 0.0, time.perf_counter(), time.process_time()
        for _ in range(steps):
            batch = next(self.batches)
            audio += float(batch.lengths.sum()) / RATE
            self._train(batch)
        return audio, time.perf_counter() - start, time.process_time() - cpu_start

    def _train(self, batch: TrainingBatch) -> None:
        features, lengths = self.fbank(batch.waveforms, batch.lengths)
        generator = torch.Generator().manual_seed(self.step)
        features = self.augment(self.model.normalize(features), lengths, generator)
        frames = -(-features.shape[1] // self.recipe.model.encoder.subsampling.factor)
        context = draw_context(self.recipe.context, 0, self.step, frames)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.setting.autocast):
            out = self.model.train_outputs(features, lengths, context)
            loss = ctc_loss(out.log_probs, out.lengths, batch.targets, batch.target_lengths)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0, foreach=self.setting.fused_optimizer)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.setting.fused_average:
            torch._foreach_lerp_(self.averaged, self.weights, 1e-3)
        else:
            self.average.update_parameters(self.model)
        self.step += 1


@cache
def dataset() -> Dataset:
    """Noise, of 1 to 22 s: short utterances are the most frequent, as in a mixed corpus of read speech."""
    rng = np.random.default_rng(0)
    seconds = np.clip(rng.lognormal(np.log(5.0), 0.7, UTTERANCES), 1.0, 22.0)
    lengths = (seconds * RATE).astype(np.int64)[:, None]
    noise = (2000 * rng.standard_normal(int(lengths.max()) + UTTERANCES)).astype(np.int16)
    # All are pieces of the same noise: (shard, where it begins).
    places = np.stack([np.zeros(UTTERANCES, np.int64), np.arange(UTTERANCES)], axis=1)
    ids = tuple(map(str, range(UTTERANCES)))
    targets = tuple(rng.integers(1, 256, max(1, int(s * TOKENS_PER_SECOND))) for s in seconds)
    return Dataset(Waveforms(ids, (1.0,), lengths, {}, ((noise,),), places), ("",) * UTTERANCES, targets)


def measure(
    recipe: Recipe, settings: list[Setting], rounds: int, steps: int, tell: Callable[[str], None]
) -> dict[str, list[tuple[float, float, float]]]:
    """(audio, wall, CPU) seconds of each turn of each setting; a first turn, to warm up, does not count."""
    runners = [Runner(setting, recipe) for setting in settings]
    parameters = sum(p.numel() for p in runners[0].model.parameters())
    tell(
        f"{parameters / 1e6:.1f} M parameters, {torch.get_num_threads()} threads, {rounds} turns of {steps} steps"
    )
    turns: dict[str, list[tuple[float, float, float]]] = {setting.name: [] for setting in settings}
    for turn in range(rounds + 1):
        for runner in runners:
            measured = runner.run(steps)
            if turn:
                turns[runner.setting.name].append(measured)
        tell(f"turn {turn} of {rounds}")
    return turns


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each setting (default 5)")
    parser.add_argument("--steps", type=int, default=4, help="steps in a turn (default 4)")
    parser.add_argument("--threads", type=int, help="torch's threads (default: as torch sees fit)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of settings")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes of the recipe")
    parser.add_argument("--json", metavar="FILE", help="where to write all turns")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = from_dict(Recipe, merged(RECIPE, arguments.set), "the recipe of this benchmark")
    names = arguments.only or [setting.name for setting in SETTINGS]
    settings = [setting for setting in SETTINGS if setting.name in names]
    if len(settings) < len(names):
        parser.error(f"settings are: {', '.join(setting.name for setting in SETTINGS)}")
    turns = measure(recipe, settings, arguments.rounds, arguments.steps, lambda line: print(line, flush=True))
    print(f"\n{'audio seconds trained in':40}{'a second':>12}{'a CPU second':>16}")
    for name, measured in turns.items():
        wall = statistics.median(audio / seconds for audio, seconds, _ in measured)
        cpu = statistics.median(audio / seconds for audio, _, seconds in measured)
        print(f"{name:40}{wall:12.1f}{cpu:16.1f}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump({"threads": torch.get_num_threads(), "turns": turns}, file)


if __name__ == "__main__":
    main()
