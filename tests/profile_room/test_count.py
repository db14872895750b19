"""Counts against a closed form, for the plain Conformer, and against the ONNX graph, for a model of all kinds."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from leanformer.config import (
    BlockConfig,
    EncoderConfig,
    ModelConfig,
    SecondPassConfig,
    SoftmaxAttentionConfig,
)
from leanformer.profile.count import Counts, count, count_second, counted_model

from .conftest import CHUNK_MS, LEFT, LOOKAHEAD, SECOND_CHUNK

FRAMES = CHUNK_MS // 10


def plain(depth: int, dim: int, ffn: int, kernel: int, vocabulary: int) -> ModelConfig:
    block = BlockConfig(ffn_dim=ffn, kernel_size=kernel, attention=SoftmaxAttentionConfig(heads=2))
    return ModelConfig(
        vocabulary_size=vocabulary, encoder=EncoderConfig(model_dim=dim, blocks=(block,) * depth)
    )


@pytest.mark.parametrize("shape", [(1, 8, 12, 3, 5), (2, 16, 40, 15, 7), (3, 12, 24, 4, 30)])
def test_the_plain_conformer_in_closed_form(shape: tuple[int, int, int, int, int]) -> None:
    depth, dim, ffn, kernel, vocabulary = shape
    found = count(plain(*shape), CHUNK_MS, LEFT)

    ffns = 2 * (2 * dim * ffn + ffn + dim)
    attention = 4 * dim * dim + 4 * dim
    convolution = 3 * dim * dim + 3 * dim + (kernel + 1) * dim
    norms = 6 * 2 * dim  # before four sublayers, in the convolution module, at the end
    front = (9 * 32 + 32) + (9 * 32 + 32) + (32 * 32 + 32) + (20 * 32 * dim + dim)
    output = dim * vocabulary + vocabulary
    assert found.parameters == depth * (ffns + attention + convolution + norms) + front + output

    # Convolutions over 40 and 20 bins, each at half the rate of the one before.
    frames = FRAMES // 4
    front_macs = 2 * frames * 9 * 32 * 40 + frames * (9 * 32 * 20 + 32 * 32 * 20 + 20 * 32 * dim)
    linear = 4 * dim * ffn + 4 * dim * dim + 3 * dim * dim
    scores = 2 * dim * (LEFT + frames)
    macs = front_macs + frames * (depth * (linear + scores + kernel * dim) + dim * vocabulary)
    assert found.macs_per_second == macs * 1000 / CHUNK_MS

    state = (80 + 32 * 40) + depth * (2 * LEFT * dim + (kernel - 1) * dim) + 1
    assert sum(found.state_bytes.values()) == 4 * state
    assert found.weight_bytes("fp32") == 4 * (found.parameters + 160)


@pytest.mark.parametrize(("depth", "chunk", "lookahead"), [(1, 4, 3), (2, 16, 8), (1, 1, 0)])
def test_a_second_pass_in_closed_form(depth: int, chunk: int, lookahead: int) -> None:
    dim, ffn, kernel, vocabulary = 16, 40, 15, 7
    first = plain(1, dim, ffn, kernel, vocabulary)
    blocks = first.encoder.blocks * depth
    second = SecondPassConfig(blocks=blocks, chunk_size=chunk, lookahead=lookahead, left_context=LEFT)
    found = count_second(counted_model(first.model_copy(update={"second": second})))

    ffns = 2 * (2 * dim * ffn + ffn + dim)
    attention = 4 * dim * dim + 4 * dim
    convolution = 3 * dim * dim + 3 * dim + (kernel + 1) * dim
    block = ffns + attention + convolution + 6 * 2 * dim
    assert found.parameters == depth * block + lookahead * dim + dim * vocabulary + vocabulary

    assert found.chunk_ms == 40 * chunk
    layer = 4 * dim * ffn + 4 * dim * dim + 3 * dim * dim + 2 * dim * (LEFT + chunk) + kernel * dim
    assert found.macs_per_second == 25 * (depth * layer + dim * vocabulary)

    waiting = (chunk - 1 + lookahead) * dim + 1
    state = depth * (2 * LEFT * dim + (kernel - 1) * dim) + 1 + waiting
    assert sum(found.state_bytes.values()) == 4 * state
    assert found.state_bytes["lookahead"] == 4 * waiting


def test_a_first_pass_is_counted_as_if_it_were_alone(counts: Counts, cascade: ModelConfig) -> None:
    assert count(cascade, CHUNK_MS, LEFT) == counts


def test_int8_weights_in_closed_form() -> None:
    shape = 2, 16, 40, 15, 7
    found = count(plain(*shape), CHUNK_MS, LEFT)
    rows = 2 * (2 * (40 + 16) + 4 * 16 + 3 * 16) + 16 + 7
    matrices = 2 * (4 * 16 * 40 + 7 * 16 * 16) + 640 * 16 + 16 * 7
    assert found.weight_bytes("int8") == found.weight_bytes("fp32") - 3 * matrices + 5 * rows


def test_sums_over_components_are_the_whole(counts: Counts) -> None:
    assert sum(counts.weight_bytes("int8", name) for name in counts.work) == counts.weight_bytes("int8")
    assert "normalisation" not in counts.work  # fused
    assert set(counts.state_bytes) == {"front_end", "attention", "convolution"}


def test_a_shared_block_is_stored_once_and_read_at_every_depth() -> None:
    shared = plain(1, 16, 40, 15, 7)
    deep = shared.model_copy(
        update={"encoder": EncoderConfig(**{**dict(shared.encoder), "layer_map": (0, 0, 0), "exits": ()})}
    )
    one, three = count(shared, CHUNK_MS, LEFT), count(deep, CHUNK_MS, LEFT)
    assert three.parameters == one.parameters
    reads = [w.name for w in three.weights for _ in range(three.reads.count(three.weights.index(w)))]
    assert reads.count("encoder.blocks.0.sublayers.0.inner.expand.weight") == 3
    assert reads.count("output.weight") == 1
    block = 3 * sum(one.work[name].macs for name in ("feed_forward", "attention", "convolution"))
    assert sum(three.work[name].macs for name in ("feed_forward", "attention", "convolution")) == block


@pytest.fixture(params=["first", "second"])
def passes(request: pytest.FixtureRequest) -> tuple[Counts, dict[str, bytes]]:
    """Counts and graphs of each pass."""
    prefix = "second_" if request.param == "second" else ""
    return request.getfixturevalue(f"{prefix}counts"), request.getfixturevalue(f"{prefix}graphs")


def test_macs_of_the_graph(passes: tuple[Counts, dict[str, bytes]]) -> None:
    counts, graphs = passes
    assert sum(work.macs for work in counts.work.values()) == graph_macs(
        onnx.load_from_string(graphs["fp32"])
    )


def test_weights_of_the_graph(passes: tuple[Counts, dict[str, bytes]]) -> None:
    counts, graphs = passes
    for precision, graph in graphs.items():
        stored = sum(
            numpy_helper.to_array(one).nbytes
            for one in onnx.load_from_string(graph).graph.initializer
            if one.data_type in (TensorProto.FLOAT, TensorProto.INT8) and one.dims
        )
        # Equal biases, positions and weights of the future (zeros, in a new model) are one constant in the graph.
        alike = ("bias", "position", "future.weights")
        vectors = 4 * sum(w.fp32_bytes // 4 for w in counts.weights if w.name.endswith(alike))
        assert counts.weight_bytes(precision) - vectors <= stored <= counts.weight_bytes(precision) + 400


def test_state_of_the_graph(passes: tuple[Counts, dict[str, bytes]]) -> None:
    counts, graphs = passes
    inputs = onnx.load_from_string(graphs["fp32"]).graph.input[2:]
    sizes = [np.prod([d.dim_value for d in one.type.tensor_type.shape.dim[1:]]) for one in inputs]
    waiting = counts.state_bytes.get("lookahead", 0)  # which wait before the graph
    assert sum(counts.state_bytes.values()) - waiting == 4 * sum(sizes)


def graph_macs(model: onnx.ModelProto) -> int:
    """From the shapes that a run of the graph has: products and convolutions, nothing else."""
    kinds = ("MatMul", "Gemm", "Conv", "MultiHeadAttention")
    nodes = [one for one in model.graph.node if one.op_type in kinds]
    weights = {one.name: tuple(one.dims) for one in model.graph.initializer}
    wanted = sorted({name for one in nodes for name in (*one.input[:2], *one.output)} - set(weights))
    given = {one.name: one for one in model.graph.input}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in given)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {name: np.zeros([1] + [d.dim_value for d in one.type.tensor_type.shape.dim[1:]], np.float32)
             for name, one in given.items() if name.startswith("state")}  # fmt: skip
    frames, width = (FRAMES, 80) if "features" in given else (SECOND_CHUNK + LOOKAHEAD, 16)
    feeds |= {
        model.graph.input[0].name: np.zeros((1, frames, width), np.float32),
        "lengths": np.array([frames]),
    }
    names = [one.name for one in session.get_outputs()]
    shapes = weights | {
        name: value.shape for name, value in zip(names, session.run(names, feeds), strict=True)
    }
    total = 0
    for one in nodes:
        out, second = shapes[one.output[0]], shapes[one.input[1]]
        inner = int(np.prod(second[1:])) if one.op_type == "Conv" else second[-2]
        if one.op_type == "MultiHeadAttention":
            inner *= 2  # each query meets all keys, and their values
        total += int(np.prod(out)) * inner
    return total
