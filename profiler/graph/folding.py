"""BatchNorm in inference mode folded into the convolution before it: what exporters write."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from profiler.graph.graph import Graph, Node, Weights
from profiler.graph.layers import BatchNorm, Convolution


def fold(graph: Graph) -> Graph:
    """The graph without those BatchNorms that alone read a convolution; it gets a bias."""
    norms = {conv.name: norm for conv, norm in _pairs(graph)}
    folded = {norm.name for norm in norms.values()}
    nodes = []
    for node in graph.nodes:
        norm = norms.get(node.name)
        if norm is not None and isinstance(node.layer, Convolution):
            layer = replace(node.layer, bias=True)
            nodes.append(replace(node, layer=layer, outputs=norm.outputs))
        elif node.name not in folded:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def fold_weights(graph: Graph, weights: Weights) -> Weights:
    """Weights of `fold(graph)` from those of `graph`, by name."""
    folded = {name: weights[name] for name in graph.weight_shapes}
    for conv, norm in _pairs(graph):
        scale, shift, mean, variance = (folded.pop(name) for name in norm.weight_shapes)
        eps = norm.layer.eps if isinstance(norm.layer, BatchNorm) else 0.0
        scale = scale / np.sqrt(variance + np.float32(eps))
        kernel, bias = f"{conv.name}.weight", f"{conv.name}.bias"
        folded[kernel] = folded[kernel] * scale.reshape(-1, *[1] * (folded[kernel].ndim - 1))
        folded[bias] = (folded.get(bias, np.float32(0)) - mean) * scale + shift
    return folded


def _pairs(graph: Graph) -> list[tuple[Node, Node]]:
    """Each convolution that a BatchNorm alone reads, and that BatchNorm."""
    return [
        (node, norm)
        for node in graph.nodes
        if isinstance(node.layer, Convolution)
        and (norm := graph.only_reader(node.output)) is not None
        and isinstance(norm.layer, BatchNorm)
    ]
