"""What a random depth saves of a training step (layer sampling, arXiv 2105.00812), in CPU seconds.

    python benchmarks/sampled_depth.py
    python benchmarks/sampled_depth.py --dim 256 --ffn-dim 1024 --rounds 5

One block shared by all layers; each step runs the first n of them forward and backward, with the CTC loss there and
AdamW's step. All depths take turns, and the median over the rounds is taken for each. Sampling draws n uniformly, so
a step then costs the mean over the depths.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from leanformer.config import BlockConfig, EncoderConfig, ModelConfig
from leanformer.layers.streaming import Context
from leanformer.model import SpeechModel
from leanformer.train.objective import ctc_loss
from leanformer.train.optimizers import make_optimizer
from leanformer.train.recipe import OptimizerConfig


def measure(model: SpeechModel, depth: int, rows: int, frames: int) -> float:
    """CPU seconds of one step in which `depth` layers run."""
    optimizer = make_optimizer(model, OptimizerConfig())
    x = torch.randn(rows, frames, 80)
    lengths = torch.full((rows,), frames)
    targets = torch.randint(1, model.config.vocabulary_size, (rows, frames // 40))
    begin = time.process_time()
    out = model.train_outputs(x, lengths, Context(16, 64), depth)
    torch.autograd.backward(
        ctc_loss(out.log_probs, out.lengths, targets, torch.full((rows,), targets.shape[1]))
    )
    optimizer.step()
    optimizer.zero_grad()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--ffn-dim", type=int, default=768)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=12, help="of each row")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    block = BlockConfig(ffn_dim=chosen.ffn_dim)
    encoder = EncoderConfig(model_dim=chosen.dim, blocks=(block,), layer_map=(0,) * chosen.depth)
    model = SpeechModel(ModelConfig(encoder=encoder)).train()
    measure(model, chosen.depth, chosen.rows, 100 * chosen.seconds)
    taken: dict[int, list[float]] = {depth: [] for depth in range(1, chosen.depth + 1)}
    for _ in range(chosen.rounds):
        for depth, seconds in taken.items():
            seconds.append(measure(model, depth, chosen.rows, 100 * chosen.seconds))
    cost = {depth: statistics.median(seconds) for depth, seconds in taken.items()}
    for depth, seconds in cost.items():
        print(f"{depth:3d} layers  {seconds:7.3f} s")
    full, sampled = cost[chosen.depth], statistics.mean(cost.values())
    print(
        f"a step at full depth {full:.3f} s, at a random depth {sampled:.3f} s on average: "
        f"{1 - sampled / full:.1%} of the time saved, {full / sampled - 1:.1%} more steps"
    )


if __name__ == "__main__":
    main()
