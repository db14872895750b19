"""One of two processes: python synchronized_worker.py RANK FOLDER NAME...; see test_normalization.py."""

import sys
from pathlib import Path

import torch
from torch import distributed

from leanformer.layers.normalization import BatchNorm


def main(rank: int, folder: Path, names: list[str]) -> None:
    """Normalise this process's half of the rows, forwards and backwards."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for name in names:
        given = torch.load(folder / f"{name}-given.pt")
        norm = BatchNorm(given["x"][0].shape[-1])
        norm.load_state_dict(given["norm"])
        calls = []
        for whole, lengths in zip(given["x"], given["lengths"], strict=True):
            x = whole.chunk(2)[rank].clone().requires_grad_()
            y = norm(x, lengths.chunk(2)[rank])
            y.pow(3).sum().backward()
            calls.append({"y": y.detach(), "gradient": x.grad})
        made = {"calls": calls, "weight": norm.weight.grad, "bias": norm.bias.grad}
        torch.save(made | {"mean": norm.mean, "variance": norm.variance}, folder / f"{name}-{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
