"""One loaded model: a pure step function on ONNX Runtime, shared by all streams."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from leanformer.errors import BundleError, ConfigError
from leanformer.runtime.bundle import Bundle, Precision

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
State = tuple[FloatArray, ...]

# int8 first: it loses next to nothing (export verifies that) at half the time and a quarter of the memory.
_BEST_FIRST: tuple[Precision, ...] = ("int8", "fp32")


class Session:
    """The weights of a bundle. It holds no stream's state, so any number of streams and threads share it."""

    def __init__(self, bundle: Bundle, precision: Precision | None = None, threads: int = 1) -> None:
        """Load a graph of `bundle`: of `precision`, or the best that is there.

        Args:
            bundle: where the graphs are.
            precision: "int8" or "fp32"; None takes int8 if the bundle has it.
            threads: threads inside one step. One is best for small models: run more streams instead.

        Raises:
            BundleError: no graph of that precision, or the graph does not fit the manifest.
            ConfigError: fewer than one thread.
        """
        if threads < 1:
            raise ConfigError(f"threads = {threads}: it must be at least 1")
        self.bundle = bundle
        self.precision = precision or _best(bundle)
        self._graph = _load(bundle, self.precision, threads)
        state = bundle.manifest.state
        self._inputs = ["features", "lengths", *(tensor.input for tensor in state)]
        self._outputs = ["log_probs", "log_prob_lengths", *(tensor.output for tensor in state)]
        self._check_names()

    def initial_state(self, batch: int = 1) -> State:
        """The state of `batch` streams that have heard nothing: zeros (batch, ...) for each state tensor."""
        return tuple(np.zeros((batch, *tensor.shape), np.float32) for tensor in self.bundle.manifest.state)

    def step(
        self, features: FloatArray, lengths: IntArray, state: State
    ) -> tuple[FloatArray, IntArray, State]:
        """Run one attention chunk; nothing of it stays in the session.

        Args:
            features: (B, T, F) log-mel frames; T is a multiple of the subsampling factor.
            lengths: (B,) valid frames of each row, less than T only at a stream's end.
            state: what `initial_state` or the last step of these B streams gave.

        Returns:
            log_probs (B, T / factor, V), their valid lengths (B,), and the next state.
        """
        given = dict(zip(self._inputs, (features, lengths, *state), strict=True))
        log_probs, log_prob_lengths, *next_state = self._graph.run(self._outputs, given)
        return log_probs, log_prob_lengths, tuple(next_state)

    def _check_names(self) -> None:
        for kind, wanted, present in (
            ("input", self._inputs, [one.name for one in self._graph.get_inputs()]),
            ("output", self._outputs, [one.name for one in self._graph.get_outputs()]),
        ):
            if wrong := sorted(set(wanted).symmetric_difference(present)):
                where = "manifest.json" if wrong[0] in present else "the graph"
                raise BundleError(
                    f"{self.bundle.graph_path(self.precision)}: {where} lacks the {kind} {wrong[0]!r}; "
                    "export the bundle again"
                )


def _best(bundle: Bundle) -> Precision:
    found = next((one for one in _BEST_FIRST if one in bundle.manifest.graphs), None)
    if found is None:
        raise BundleError(f"{bundle.folder}: neither an int8 nor an fp32 graph; export the bundle again")
    return found


def _load(bundle: Bundle, precision: Precision, threads: int) -> onnxruntime.InferenceSession:
    path = bundle.graph_path(precision)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: warnings of the optimiser are not the user's business
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes share no public base
        reason = str(error).splitlines()[0]
        raise BundleError(
            f"{path}: ONNX Runtime cannot load this graph ({reason}); export it again"
        ) from error
