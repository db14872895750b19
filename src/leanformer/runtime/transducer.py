"""A bundle's transducer: predictor and joiner on ONNX Runtime, as the searches of the decoder call them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leanformer.decoder.transducer import Array, Memory, Transducer
from leanformer.errors import BundleError
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.session import load_graph


class PredictorSession:
    """Tokens in, what they mean for the next out; the state is the caller's."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Raise BundleError if `bundle` has no transducer, or its graph cannot be used."""
        part = bundle.transducer
        self._graph = load_graph(bundle.folder / part.predictor, threads)
        self._state = part.state
        self._inputs = ["tokens", *(tensor.input for tensor in part.state)]
        self._outputs = ["predictor_out", *(tensor.output for tensor in part.state)]
        found = {one.name for one in (*self._graph.get_inputs(), *self._graph.get_outputs())}
        if wrong := sorted(found.symmetric_difference({*self._inputs, *self._outputs})):
            raise BundleError(
                f"{bundle.folder / part.predictor}: {wrong[0]!r} is in the graph or in manifest.json, but not in "
                "both; export the bundle again"
            )

    def initial_state(self) -> Memory:
        """Zeros, of one hypothesis."""
        return tuple(np.zeros((1, *tensor.shape), np.float32) for tensor in self._state)

    def step(self, tokens: NDArray[np.int64], state: Memory) -> tuple[Array, Memory]:
        """Tokens (N,) of N hypotheses and their states to outputs (N, J) and the states after."""
        given = dict(zip(self._inputs, (tokens.astype(np.int64), *state), strict=True))
        output, *following = self._graph.run(self._outputs, given)
        return output, tuple(following)


class JoinerSession:
    """Frames and predictor outputs in, scores of the next token out."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Raise BundleError if `bundle` has no transducer, or its graph cannot be used."""
        self._graph = load_graph(bundle.folder / bundle.transducer.joiner, threads)
        self._width = int(self._graph.get_inputs()[0].shape[1])

    def log_probs(self, encoder: Array, predictor: Array) -> Array:
        """(N, D) and (N, J) to (N, V)."""
        return self._run("log_probs", encoder, predictor)

    def label_log_probs(self, predictor: Array) -> Array:
        """The internal language model: (N, J) to (N, V - 1)."""
        silence = np.zeros((len(predictor), self._width), np.float32)
        return self._run("label_log_probs", silence, predictor)

    def _run(self, output: str, encoder: Array, predictor: Array) -> Array:
        (found,) = self._graph.run([output], {"encoder_out": encoder, "predictor_out": predictor})
        scores: Array = found
        return scores


def load_transducer(bundle: Bundle, threads: int = 1) -> Transducer:
    """Both parts, for a search.

    Raises:
        BundleError: the bundle has no transducer, or its graphs cannot be used.
    """
    return Transducer(PredictorSession(bundle, threads), JoinerSession(bundle, threads))
