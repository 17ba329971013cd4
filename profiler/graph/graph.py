"""The one description of a network: layers applied to tensors of known shape.

Immutable and without weights: those are arrays beside it, by the names that
`Graph.weight_shapes` gives. All counts are of one run, the whole batch included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.graph.layers import (
    STATISTICS,
    Activation,
    BatchNorm,
    Clip,
    Layer,
    LeakyRelu,
    PRelu,
    Shape,
)
from profiler.graph.moves import Reshape

Weights = dict[str, NDArray[np.float32]]  # by "node.weight", as in a torch state dict

POINTWISE = (BatchNorm, Activation, Clip, LeakyRelu, PRelu)  # one tensor in, element by element


@dataclass(frozen=True, slots=True)
class Tensor:
    """What layers pass on; `dtype` is numpy's name of the element type."""

    name: str
    shape: Shape
    dtype: str = "float32"

    @property
    def n_bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize


class Origin(NamedTuple):
    """The node of a file that a layer was read from."""

    op_type: str
    name: str

    def __str__(self) -> str:
        return f"{self.op_type} {self.name!r}"


def listed(origins: Iterable[Origin]) -> str:
    """For a message: every op type, with its first node and how many more there are."""
    names: dict[str, list[str]] = {}
    for op_type, name in origins:
        names.setdefault(op_type, []).append(name)
    return "; ".join(
        f"{op_type} ({first}{f' and {len(more)} more' if more else ''})"
        for op_type, (first, *more) in sorted(names.items())
    )


@dataclass(frozen=True, slots=True)
class Node:
    """A layer at its place in a graph."""

    name: str
    layer: Layer
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    read_from: Origin | None = field(default=None, compare=False)

    @property
    def origin(self) -> Origin:
        """What it is called in its file; without one, its layer's kind and its own name."""
        return self.read_from or Origin(type(self.layer).__name__, self.name)

    @property
    def output(self) -> Tensor:
        return self.outputs[0]

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        """Shapes of the weights, by their names in the graph."""
        shapes = self.layer.weight_shapes(*(tensor.shape for tensor in self.inputs))
        return {f"{self.name}.{name}": shape for name, shape in shapes.items()}

    @property
    def madds(self) -> int:
        return self.layer.madds(self.output.shape, *(tensor.shape for tensor in self.inputs))


@dataclass(frozen=True)
class Graph:
    """Nodes in order of execution."""

    inputs: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Tensor, ...]

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        """Shapes of all weights, in order of execution."""
        return {name: s for node in self.nodes for name, s in node.weight_shapes.items()}

    @cached_property
    def madds(self) -> int:
        """Multiply-adds of convolutions and matrix products."""
        return sum(node.madds for node in self.nodes)

    @cached_property
    def params(self) -> int:
        """Weights that are trained: BatchNorm's scale and shift are, its statistics are not."""
        return sum(
            prod(shape)
            for name, shape in self.weight_shapes.items()
            if name.rpartition(".")[2] not in STATISTICS
        )

    @cached_property
    def readers(self) -> dict[str, tuple[Node, ...]]:
        """The nodes that read a tensor, by its name."""
        readers: dict[str, tuple[Node, ...]] = {}
        for node in self.nodes:
            for tensor in node.inputs:
                readers[tensor.name] = (*readers.get(tensor.name, ()), node)
        return readers

    @cached_property
    def producers(self) -> dict[str, Node]:
        """The node that makes a tensor, by its name."""
        return {tensor.name: node for node in self.nodes for tensor in node.outputs}

    def only_reader(self, tensor: Tensor) -> Node | None:
        """The node that reads `tensor`, if that is one and no output of the graph is lost."""
        readers = self.readers.get(tensor.name, ())
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def without_unread(self) -> Graph:
        """The graph of those nodes that an output depends on."""
        wanted = {tensor.name for tensor in self.outputs}
        kept = []
        for node in reversed(self.nodes):
            if any(tensor.name in wanted for tensor in node.outputs):
                kept.append(node)
                wanted.update(tensor.name for tensor in node.inputs)
        return replace(self, nodes=tuple(reversed(kept)))

    @cached_property
    def bytes_moved(self) -> int:
        """Traffic if every tensor is written once and read once by each of its readers.

        A pointwise layer that alone reads its input runs where that is made, and a reshaped
        tensor is the same memory.
        """
        weights = 4 * sum(map(prod, self.weight_shapes.values()))
        return weights + sum(map(self._tensor_bytes, self.nodes))

    def _tensor_bytes(self, node: Node) -> int:
        if isinstance(node.layer, Reshape) or self._runs_in_place(node):
            return 0
        written = sum(tensor.n_bytes for tensor in node.outputs)
        return written + sum(tensor.n_bytes for tensor in node.inputs)

    def _runs_in_place(self, node: Node) -> bool:
        if not isinstance(node.layer, POINTWISE):
            return False
        source = node.inputs[0]
        return source.name in self.producers and self.only_reader(source) is node

    @cached_property
    def peak_activation_bytes(self) -> int:
        """The most memory that tensors take at once, each kept from its writing to its last
        reading; a layer's inputs and outputs are there together."""
        left = Counter({name: len(nodes) for name, nodes in self.readers.items()})
        left.update(tensor.name for tensor in self.outputs)  # never freed
        live = peak = sum(tensor.n_bytes for tensor in self.inputs)
        for node in self.nodes:
            live += sum(tensor.n_bytes for tensor in node.outputs)
            peak = max(peak, live)
            for tensor in node.inputs:
                left[tensor.name] -= 1
                live -= tensor.n_bytes * (left[tensor.name] == 0)
        return peak


class GraphBuilder:
    """Adds nodes one by one; shapes follow.

    >>> from profiler.graph.layers import Linear
    >>> builder = GraphBuilder()
    >>> x = builder.input("input", (1, 8))
    >>> builder.graph(builder.add("fc", Linear(10), x)).madds
    80
    """

    def __init__(self) -> None:
        self._inputs: list[Tensor] = []
        self._nodes: list[Node] = []

    def input(self, name: str, shape: Shape, dtype: str = "float32") -> Tensor:
        self._inputs.append(Tensor(name, shape, dtype))
        return self._inputs[-1]

    def add(self, name: str, layer: Layer, *inputs: Tensor) -> Tensor:
        """The first output of a new node."""
        return self.add_all(name, layer, *inputs)[0]

    def add_row(self, layers: Mapping[str, Layer], x: Tensor) -> Tensor:
        """Layers of one input by their names, each applied to what the one before makes."""
        for name, layer in layers.items():
            x = self.add(name, layer, x)
        return x

    def add_all(
        self,
        name: str,
        layer: Layer,
        *inputs: Tensor,
        read_from: Origin | None = None,
        dtype: str = "float32",
    ) -> tuple[Tensor, ...]:
        """All outputs of a new node; the first bears its name.

        They are of the first input's type; `dtype` is for a layer without inputs.

        Raises:
            InvalidInputError: inputs that the layer cannot take.
        """
        try:
            shapes = layer.output_shapes(*(tensor.shape for tensor in inputs))
        except InvalidInputError as error:
            raise InvalidInputError(f"{read_from or name}: {error}") from None
        dtype = inputs[0].dtype if inputs else dtype
        outputs = tuple(
            Tensor(f"{name}.{index}" if index else name, shape, dtype)
            for index, shape in enumerate(shapes)
        )
        self._nodes.append(Node(name, layer, inputs, outputs, read_from))
        return outputs

    def graph(self, *outputs: Tensor) -> Graph:
        return Graph(tuple(self._inputs), tuple(self._nodes), outputs)


def chain(graphs: Sequence[tuple[str, Graph]]) -> Graph:
    """Graphs of one input and one output one after the other, their names behind a prefix.

    Raises:
        InvalidInputError: a graph that does not take what the one before it makes.
    """
    first = graphs[0][1].inputs[0]
    nodes: list[Node] = []
    x = first
    for prefix, graph in graphs:
        (source,), (result,) = graph.inputs, graph.outputs
        if source.shape != x.shape:
            raise InvalidInputError(f"{prefix} takes {source.shape}, gets {x.shape}")
        renamed = {source: x}
        for node in graph.nodes:
            for tensor in node.outputs:
                renamed[tensor] = replace(tensor, name=f"{prefix}.{tensor.name}")
            nodes.append(
                replace(
                    node,
                    name=f"{prefix}.{node.name}",
                    inputs=tuple(renamed[tensor] for tensor in node.inputs),
                    outputs=tuple(renamed[tensor] for tensor in node.outputs),
                )
            )
        x = renamed[result]
    return Graph((first,), tuple(nodes), (x,))
