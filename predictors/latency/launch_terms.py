"""What ops add to the two ends of a queue: kernels to launch, and work for the GPU.

One walk over the layers of an op (see launches.py for what it is for).
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from math import prod

from profiler.graph.graph import Graph, Node
from profiler.graph.layers import (
    Activation,
    BatchNorm,
    Convolution,
    Elementwise,
    Function,
    Operation,
)
from profiler.graph.op import Op
from profiler.graph.op_shape import n_pixels, shape_of

WARP = 32
CONVOLUTIONS_PER_BLOCK = 3

Terms = dict[str, float]  # amounts by name


@cache
def launch_terms(op: Op) -> Terms:
    """Kernels that the host launches for one op, by kind; the ends of a network are constant.

    A block is three convolutions; what has fewer counts as an end.
    """
    shape = shape_of(op)
    n_blocks = len(shape.convolutions) // CONVOLUTIONS_PER_BLOCK
    if not n_blocks:
        return {}
    return {
        "block": float(n_blocks),
        "excitation": float(shape.has_gate),
        "hard_swish": float(shape.activation is Function.HARD_SWISH),
    }


@cache
def compute_terms(op: Op, *, per_site: bool) -> Terms:
    """Amounts of one op, of the whole batch: elements, multiply-adds, kernels."""
    launched, shape = launch_terms(op), shape_of(op)
    (source,), (result,) = op.graph.inputs, op.graph.outputs
    if not launched:
        return {f"{op.kind} pixels": float(shape.batch_size * n_pixels(source))}
    terms: defaultdict[str, float] = defaultdict(float)
    terms["block"], terms["excitation"] = launched["block"], launched["excitation"]
    terms["input"], terms["output"] = prod(source.shape), prod(result.shape)
    for node in op.graph.nodes:
        if not shape.in_gate(node):
            for name, amount in _layer_terms(op.graph, node, stays=node in shape.inner).items():
                terms[name] += amount
    if per_site:
        site = f"{shape.in_channels}-{shape.out_channels} s{shape.stride}"
        terms[f"{site} pixels"] = shape.batch_size * n_pixels(result)
        terms[f"{site} filtered"] = terms["filtered"]
        terms[f"{site} filtered k{shape.kernel}"] = terms["filtered"]
    return dict(terms)


def _layer_terms(graph: Graph, node: Node, *, stays: bool) -> Terms:
    """Terms of one layer; `stays` says that a convolution's output stays inside the op."""
    layer, output = node.layer, node.output
    elements = prod(output.shape)
    match layer:
        case Convolution() if layer.is_pointwise:
            step = "expand" if stays else "project"
            warps = node.madds // n_pixels(output) * _whole_warps(n_pixels(output))
            terms: Terms = {f"{step} madds": node.madds, f"{step} warps": warps}
            return terms | (_made(graph, node, "expanded") if stays else {})
        case Convolution() if layer.is_depthwise:
            step = f"depthwise k{max(layer.kernel)}"
            warps = elements // n_pixels(output) * _whole_warps(n_pixels(output))
            terms = {f"{step} s{max(layer.strides)}": elements, f"{step} warps": warps}
            return terms | _made(graph, node, "filtered")
        case Convolution():
            return {f"dense k{max(layer.kernel)} madds": node.madds} | _made(
                graph, node, "filtered"
            )
        case Elementwise(Operation.MULTIPLY):
            return {"filtered excitation": elements}
        case _:
            return {}


def _made(graph: Graph, node: Node, name: str) -> Terms:
    """Elements that a convolution makes, and those of them that a hard-swish then reads."""
    channels, elements = node.output.shape[1], prod(node.output.shape)
    read_by = node
    while (reader := graph.only_reader(read_by.output)) and isinstance(reader.layer, BatchNorm):
        read_by = reader
    swishes = reader is not None and reader.layer == Activation(Function.HARD_SWISH)
    rows = node.output.shape[0] * node.output.shape[2] * channels
    return {name: elements, f"{name} hard_swish": elements * swishes, f"{name} rows": rows}


def _whole_warps(pixels: int) -> int:
    return -(-pixels // WARP) * WARP
