"""A graph on ONNX Runtime, fed with a stream of chunks: the numbers are noise, their cost is that of speech."""

from __future__ import annotations

import time

import numpy as np
import onnxruntime
from numpy.typing import NDArray

_SEED = 0


class Runner:
    """One loaded graph, on one thread, and one stream that goes on from step to step."""

    def __init__(self, graph: bytes | str, frames: int, profile_to: str | None = None) -> None:
        """Load a graph (its content or its path) to be fed `frames` frames a step, all of them real.

        With `profile_to`, the prefix of a file, the runtime writes down how long each node takes.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only, as in the runtime
        if profile_to is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile_to
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        features, lengths, *state = self.session.get_inputs()
        noise = np.random.default_rng(_SEED).standard_normal((1, frames, features.shape[2]))
        self._fixed = {
            features.name: noise.astype(np.float32),
            lengths.name: np.array([frames], np.int64),
        }
        self._state_names = [one.name for one in state]
        self._state: list[NDArray[np.float32]] = [np.zeros((1, *one.shape[1:]), np.float32) for one in state]

    def step(self) -> float:
        """Run one chunk; milliseconds that it took."""
        given = self._fixed | dict(zip(self._state_names, self._state, strict=True))
        start = time.perf_counter()
        outputs = self.session.run(None, given)
        taken = time.perf_counter() - start
        self._state = outputs[len(outputs) - len(self._state) :]
        return 1000.0 * taken
