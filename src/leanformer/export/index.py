"""A graph to be rewritten: what reads and what makes each value."""

from collections import Counter
from collections.abc import Callable

import onnx


class GraphIndex:
    """A graph with what reads and what makes each value."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.nodes = list(graph.node)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {output: node for node in self.nodes for output in node.output}
        self.readers = Counter(name for node in self.nodes for name in node.input)
        self.readers.update(output.name for output in graph.output)

    def maker(self, value: str, kind: str) -> onnx.NodeProto | None:
        """The node that makes a value, if it is of this kind and nothing else reads what it makes."""
        node = self.makers.get(value)
        return node if node is not None and node.op_type == kind and self.readers[value] == 1 else None

    def replace(self, nodes: list[onnx.NodeProto]) -> None:
        """Give the graph other nodes."""
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(copies)


def repeat(rewrite: Callable[[GraphIndex], bool], graph: onnx.GraphProto) -> None:
    """Rewrite until there is nothing left to do; each rewriting looks at the graph anew."""
    while rewrite(GraphIndex(graph)):
        pass
