"""Hard-sigmoid and hard-swish that are written as arithmetic, as the one layer that they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from profiler.graph.graph import Graph, Node, Tensor
from profiler.graph.layers import Activation, Clip, Constant, Elementwise, Function, Operation


def recognise_activations(graph: Graph) -> Graph:
    """The graph in which x · clip(x + 3, 0, 6) / 6, in any order, is one layer; so its gate."""
    nodes = tuple(_recognised(graph, node) for node in graph.nodes)
    return replace(graph, nodes=nodes).without_unread()


def _recognised(graph: Graph, node: Node) -> Node:
    for function, source_of in (
        (Function.HARD_SWISH, _hard_swish_source),
        (Function.HARD_SIGMOID, _hard_sigmoid_source),
    ):
        source = source_of(graph, node.output)
        if source is not None:
            return replace(node, layer=Activation(function), inputs=(source,))
    return node


def _hard_swish_source(graph: Graph, tensor: Tensor) -> Tensor | None:
    """x of x · clip(x + 3, 0, 6) / 6."""
    sixth = _sixth_source(graph, tensor)
    product = _made_by(graph, sixth or tensor, Operation.MULTIPLY)
    if product is None:
        return None
    gate_source = _shift_source if sixth else _hard_sigmoid_source
    for x, gate in _both_orders(product):
        if gate_source(graph, gate) == x:
            return x
    return None


def _hard_sigmoid_source(graph: Graph, tensor: Tensor) -> Tensor | None:
    """x of clip(x + 3, 0, 6) / 6."""
    node = graph.producers.get(tensor.name)
    if node is not None and node.layer == Activation(Function.HARD_SIGMOID):
        return node.inputs[0]
    sixth = _sixth_source(graph, tensor)
    return _shift_source(graph, sixth) if sixth else None


def _sixth_source(graph: Graph, tensor: Tensor) -> Tensor | None:
    """x of x / 6, or of x · (1/6)."""
    if division := _made_by(graph, tensor, Operation.DIVIDE):
        x, divisor = division.inputs
        return x if _number(graph, divisor) == 6 else None
    if product := _made_by(graph, tensor, Operation.MULTIPLY):
        for x, factor in _both_orders(product):
            if math.isclose(_number(graph, factor), 1 / 6, rel_tol=1e-3):
                return x
    return None


def _shift_source(graph: Graph, tensor: Tensor) -> Tensor | None:
    """x of clip(x + 3, 0, 6)."""
    clip = graph.producers.get(tensor.name)
    if clip is None or clip.layer not in (Clip(0, 6), Activation(Function.RELU6)):
        return None
    if addition := _made_by(graph, clip.inputs[0], Operation.ADD):
        for x, shift in _both_orders(addition):
            if _number(graph, shift) == 3:
                return x
    return None


def _made_by(graph: Graph, tensor: Tensor, operation: Operation) -> Node | None:
    node = graph.producers.get(tensor.name)
    return node if node is not None and node.layer == Elementwise(operation) else None


def _both_orders(node: Node) -> Iterator[tuple[Tensor, Tensor]]:
    a, b = node.inputs
    yield a, b
    yield b, a


def _number(graph: Graph, tensor: Tensor) -> float:
    """The value of a constant of one element; of any other tensor NaN, which equals nothing."""
    node = graph.producers.get(tensor.name)
    number = node.layer.number if node is not None and isinstance(node.layer, Constant) else None
    return math.nan if number is None else number
