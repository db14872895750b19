"""One thread: the tensors are tiny, and threads would only wait for one another."""

import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).parent))  # for lattice_paths
