"""One pass of a loaded model: a pure step function on ONNX Runtime, shared by all streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from leanformer.decoder.search import Reads
from leanformer.errors import BundleError, ConfigError
from leanformer.runtime.bundle import Bundle, Pass, Precision

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
State = tuple[FloatArray, ...]

# int8 first: it loses next to nothing (export verifies that) at half the time and a quarter of the memory.
_BEST_FIRST: tuple[Precision, ...] = ("int8", "fp32")
_FRAMES: Mapping[Pass, str] = {"first": "features", "second": "frames"}
_LENGTHS = "log_prob_lengths"
_OUTPUTS = ("log_probs", _LENGTHS)
_ENCODER_OUT = "encoder_out"


class Session:
    """The weights of one pass of a bundle. It holds no stream's state, so any number of streams and threads share it.

    Both passes are alike: frames, their lengths and state in, log-probabilities and state out. The first reads
    features, the second what the first gives as `encoder_out`.
    """

    def __init__(
        self, bundle: Bundle, precision: Precision | None = None, threads: int = 1, which: Pass = "first"
    ) -> None:
        """Load a graph of `bundle`: of `precision`, or the best that is there.

        Args:
            bundle: where the graphs are.
            precision: "int8" or "fp32"; None takes int8 if the bundle has it.
            threads: threads inside one step. One is best for small models: run more streams instead.
            which: the pass.

        Raises:
            BundleError: no such pass, no graph of that precision, or the graph does not fit the manifest.
            ConfigError: fewer than one thread.
        """
        if threads < 1:
            raise ConfigError(f"threads = {threads}: it must be at least 1")
        self.bundle, self.which = bundle, which
        self.precision = precision or _best(bundle)
        self._path = bundle.graph_path(self.precision, which)
        self._graph = load_graph(self._path, threads)
        self._state = bundle.manifest.state if which == "first" else bundle.second.state
        self._inputs = [_FRAMES[which], "lengths", *(tensor.input for tensor in self._state)]
        self._next_state = [tensor.output for tensor in self._state]
        self._check_names((*_OUTPUTS, _ENCODER_OUT) if bundle.manifest.gives_encoder_out else _OUTPUTS)

    @property
    def width(self) -> int:
        """Numbers in one of the frames that a step takes."""
        return int(self._graph.get_inputs()[0].shape[2])

    def initial_state(self, batch: int = 1) -> State:
        """The state of `batch` streams that have heard nothing: zeros (batch, ...) for each state tensor."""
        return tuple(np.zeros((batch, *tensor.shape), np.float32) for tensor in self._state)

    def step(
        self, frames: FloatArray, lengths: IntArray, state: State, reads: Reads = "log_probs"
    ) -> tuple[FloatArray, IntArray, State]:
        """Run one attention chunk; nothing of it stays in the session.

        Args:
            frames: (B, T, F). Of the first pass, log-mel features, with T a multiple of the subsampling factor; of
                the second, T' + lookahead encoder frames, of which it runs the first T', a chunk at most.
            lengths: (B,) valid frames of each row, less than T only at a stream's end.
            state: what `initial_state` or the last step of these B streams gave.
            reads: what to return: a bundle with a second pass or a transducer has encoder frames, too.

        Returns:
            log_probs (B, T', V) or encoder_out (B, T', D), their valid lengths (B,), and the next state.
        """
        found, valid, *following = self._run((reads, _LENGTHS), frames, lengths, state)
        return found, valid, tuple(following)

    def step_encoded(
        self, frames: FloatArray, lengths: IntArray, state: State
    ) -> tuple[FloatArray, FloatArray, IntArray, State]:
        """As `step`, of a bundle that has both, with the encoder_out (B, T', D) after the log_probs."""
        outputs = (*_OUTPUTS, _ENCODER_OUT)
        log_probs, valid, encoded, *following = self._run(outputs, frames, lengths, state)
        return log_probs, encoded, valid, tuple(following)

    def _run(self, outputs: Sequence[str], frames: FloatArray, lengths: IntArray, state: State) -> list[Any]:
        given = dict(zip(self._inputs, (frames, lengths, *state), strict=True))
        found: list[Any] = self._graph.run([*outputs, *self._next_state], given)
        return found

    def _check_names(self, outputs: Sequence[str]) -> None:
        for kind, wanted, present in (
            ("input", self._inputs, [one.name for one in self._graph.get_inputs()]),
            ("output", [*outputs, *self._next_state], [one.name for one in self._graph.get_outputs()]),
        ):
            if wrong := sorted(set(wanted).symmetric_difference(present)):
                where = "manifest.json" if wrong[0] in present else "the graph"
                raise BundleError(
                    f"{self._path}: {where} lacks the {kind} {wrong[0]!r}; export the bundle again"
                )


def _best(bundle: Bundle) -> Precision:
    found = next((one for one in _BEST_FIRST if one in bundle.manifest.graphs), None)
    if found is None:
        raise BundleError(f"{bundle.folder}: neither an int8 nor an fp32 graph; export the bundle again")
    return found


def load_graph(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A graph of a bundle, ready to run; raises BundleError if ONNX Runtime refuses it."""
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
