"""What BatchNorms that layers share do to a model in use, and what helps (docs/layer-consistency.md).

    python benchmarks/shared_norms.py
    python benchmarks/shared_norms.py --only frozen --steps 300

Small models of one shared block are trained on the recordings of tests/data until they know them by heart. The loss
on the same recordings is then taken twice: with the statistics of the batch, as in training, and with the running
ones, as in use. A good model has the same in both columns.
"""

from __future__ import annotations

import argparse
import copy
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from leanformer.audio.load import load_audio
from leanformer.config import BlockConfig, EncoderConfig, ModelConfig, SubsamplingConfig
from leanformer.features.fbank import Fbank
from leanformer.layers.normalization import BatchNorm
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel
from leanformer.train.objective import ctc_loss
from leanformer.train.schedule import draw_depth

DATA = Path(__file__).parents[1] / "tests" / "data"
LETTERS = "' abcdefghijklmnopqrstuvwxyz"
DEPTH = 6
SHOWN = (2, 4, 6)
EVERYTHING = Context(1000, 0)

SETTINGS: dict[str, dict[str, Any]] = {
    "shared": {},
    "shared, random depth": {"sample": True},
    "per depth": {"per_depth": True},
    "per depth, random depth": {"per_depth": True, "sample": True},
    "shared, frozen": {"freeze": True},
    "shared, frozen, random depth": {"freeze": True, "sample": True},
    "LayerNorm": {"norm": "layer"},
    "LayerNorm, random depth": {"norm": "layer", "sample": True},
}


@dataclass(frozen=True)
class Speech:
    """Features (B, T, 80) with lengths (B,), and letters (B, U) with theirs."""

    features: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor


def read() -> Speech:
    with (DATA / "utterances.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    waves = [torch.from_numpy(load_audio(DATA / row["path"])) for row in rows]
    texts = [torch.tensor([1 + max(0, LETTERS.find(letter)) for letter in row["text"]]) for row in rows]
    sizes = torch.tensor([len(wave) for wave in waves])
    features, lengths = Fbank()(pad_sequence(waves, batch_first=True), sizes)
    valid = features[torch.arange(features.shape[1]) < lengths[:, None]]
    normalized = (features - valid.mean(dim=0)) / valid.std(dim=0)
    return Speech(
        normalized,
        lengths,
        pad_sequence(texts, batch_first=True),
        torch.tensor([len(text) for text in texts]),
    )


def make(norm: str, per_depth: bool) -> SpeechModel:
    fusion = {"activation": "relu", "conv_gate": "none"} if norm == "batch" else {}
    encoder = {
        "model_dim": 96,
        "subsampling": SubsamplingConfig(channels=16),
        "blocks": (BlockConfig(ffn_dim=256, kernel_size=9),),
        "layer_map": (0,) * DEPTH,
        "norm": norm,
        "norm_per_depth": per_depth,
        "dropout": 0.0,
    }
    torch.manual_seed(0)
    return SpeechModel(ModelConfig(vocabulary_size=30, encoder=EncoderConfig(**encoder, **fusion)))


def loss_of(model: SpeechModel, speech: Speech, rows: Tensor, depth: int, noise: float = 0.0) -> Tensor:
    lengths = speech.lengths[rows]
    features = speech.features[rows][:, : int(lengths.max())]
    out = model.train_outputs(features + noise * torch.randn_like(features), lengths, EVERYTHING, depth)
    return ctc_loss(out.log_probs, out.lengths, speech.targets[rows], speech.target_lengths[rows])


def train(
    speech: Speech,
    steps: int,
    norm: str = "batch",
    per_depth: bool = False,
    sample: bool = False,
    freeze: bool = False,
) -> SpeechModel:
    model = make(norm, per_depth).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1.5e-3, betas=(0.9, 0.98))
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 50) * min(1.0, 3 * (steps - step) / steps)
    )
    for step in range(steps):
        if freeze and step >= steps // 2:
            for module in model.modules():
                if isinstance(module, BatchNorm):
                    module.eval()
        torch.manual_seed(step)
        depth = draw_depth(range(1, DEPTH + 1), 0, step) if sample else DEPTH
        optimizer.zero_grad()
        torch.autograd.backward(loss_of(model, speech, torch.randperm(len(speech.lengths))[:3], depth, 0.3))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        rate.step()
    return model


@torch.no_grad()
def show(name: str, model: SpeechModel, speech: Speech) -> None:
    everything = torch.arange(len(speech.lengths))
    found = []
    for training in (True, False):
        for depth in SHOWN:
            measured = copy.deepcopy(model).train(
                training
            )  # a pass in training changes the running statistics
            found.append(f"{loss_of(measured, speech, everything, depth).item():6.2f}")
    print(f"{name:30s} {' '.join(found[:3])}   {' '.join(found[3:])}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", default="", help="settings whose name has this in it")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    speech = read()
    layers = " ".join(f"{depth:6d}" for depth in SHOWN)
    print(
        f"{'loss with statistics of':30s} {'the batch':20s}   running ones\n{'layers':30s} {layers}   {layers}"
    )
    for name, setting in SETTINGS.items():
        if chosen.only in name:
            show(name, train(speech, chosen.steps, **setting), speech)


if __name__ == "__main__":
    main()
