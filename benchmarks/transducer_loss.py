"""The transducer loss against warprnnt-numba's, in CPU seconds, and without all logits at once, in memory.

    python benchmarks/transducer_loss.py
    python benchmarks/transducer_loss.py --rows 4 --frames 200 --rounds 5

Time: forward and backward from the same logits (B, T, U + 1, V), theirs and ours in turn, with the median over the
rounds of each; then ours from encoder and predictor outputs, joiner included, in slices of frames and with all logits
at once. Memory: what the latter two add to a process of their own at their peak.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from warprnnt_numba import RNNTLossNumba

from leanformer.config import TransducerConfig
from leanformer.transducer.joiner import Joiner
from leanformer.transducer.loss import logits_loss, transducer_loss

Shape = tuple[int, int, int, int]
WAYS = ("slices", "all at once")


def seconds(step: Callable[[], object]) -> float:
    begin = time.process_time()
    step()
    return time.process_time() - begin


def lengths_of(shape: Shape) -> tuple[Tensor, Tensor]:
    """Rows of several lengths, the longest first."""
    rows, frames, labels, _ = shape
    part = torch.linspace(1.0, 0.6, rows)
    return (part * frames).ceil().long(), (part * labels).ceil().long()


def from_logits(shape: Shape, factorization: str, oracle: bool = False) -> float:
    rows, frames, labels, vocabulary = shape
    torch.manual_seed(0)
    logits = torch.randn(rows, frames, labels + 1, vocabulary, requires_grad=True)
    targets = torch.randint(1, vocabulary, (rows, labels))
    lengths, target_lengths = lengths_of(shape)
    theirs = RNNTLossNumba(blank=0, reduction="sum")

    def step() -> None:
        if oracle:
            loss = theirs(logits, targets.int(), lengths.int(), target_lengths.int())
        else:
            loss = logits_loss(logits, targets, lengths, target_lengths, factorization).sum()
        loss.backward()

    return seconds(step)


def from_outputs(shape: Shape, joint: int, way: str) -> float:
    rows, frames, labels, vocabulary = shape
    torch.manual_seed(0)
    joiner = Joiner(joint, TransducerConfig(predictor_dim=joint, joint_dim=joint, tied=False), vocabulary)
    encoder_out = torch.randn(rows, frames, joint, requires_grad=True)
    predictor_out = torch.randn(rows, labels + 1, joint, requires_grad=True)
    targets = torch.randint(1, vocabulary, (rows, labels))

    def in_slices() -> Tensor:
        return transducer_loss(joiner, encoder_out, predictor_out, targets, *lengths_of(shape))

    def at_once() -> Tensor:
        encoder, predictor = joiner.project_encoder(encoder_out), joiner.project_predictor(predictor_out)
        logits = joiner(encoder[:, :, None], predictor[:, None])
        return logits_loss(logits, targets, *lengths_of(shape), "hat")

    loss = in_slices if way == WAYS[0] else at_once
    return seconds(lambda: loss().sum().backward())


def peak_mb(shape: Shape, joint: int, way: str) -> float:
    """What a step adds to the peak memory of this process, which must be a fresh one."""
    torch.set_num_threads(1)
    from_outputs((1, 2, 1, 3), joint, way)  # what torch needs for itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    from_outputs(shape, joint, way)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--labels", type=int, default=30)
    parser.add_argument("--vocabulary", type=int, default=500)
    parser.add_argument("--joint", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    shape = chosen.rows, chosen.frames, chosen.labels, chosen.vocabulary
    # Before this process grows: its peak is where its children's begins.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = {way: pool.apply(peak_mb, (shape, chosen.joint, way)) for way in WAYS}
    for way, found in memory.items():
        print(f"peak memory, {way:12s} {found:7.0f} MB")
    print(f"{memory[WAYS[1]] / memory[WAYS[0]]:.1f} times less in slices")
    turns: dict[str, Callable[[], float]] = {
        "warprnnt-numba": lambda: from_logits(shape, "softmax", oracle=True),
        "softmax": lambda: from_logits(shape, "softmax"),
        "hat": lambda: from_logits(shape, "hat"),
        **{f"joiner, {way}": lambda way=way: from_outputs(shape, chosen.joint, way) for way in WAYS},
    }
    taken: dict[str, list[float]] = {name: [] for name in turns}
    for round_ in range(chosen.rounds + 1):
        for name, turn in turns.items():
            found = turn()
            if round_:  # the first is for warming up
                taken[name].append(found)
    for name, found in taken.items():
        print(f"{name:20s} median {statistics.median(found):7.3f} s, least {min(found):7.3f} s")
    # The least is what a busy machine spoils last.
    for kind, of in (("medians", statistics.median), ("least", min)):
        ratio = {name: of(taken["warprnnt-numba"]) / of(taken[name]) for name in ("softmax", "hat")}
        print(f"by {kind}, softmax is {ratio['softmax']:.1f}, hat {ratio['hat']:.1f} times as fast as theirs")


if __name__ == "__main__":
    main()
