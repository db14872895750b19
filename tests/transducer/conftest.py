"""One thread: the tensors are tiny, and threads would only wait for one another."""

import torch

torch.set_num_threads(1)
