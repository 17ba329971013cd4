"""Features of an op that latency regressions are made of: physical work, and shape."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from predictors.base import Floats
from profiler.graph.graph import Node, Tensor
from profiler.graph.layers import (
    Activation,
    Convolution,
    Elementwise,
    Function,
    Linear,
    MatMul,
    Operation,
    Pool,
    Shape,
)
from profiler.graph.op import Op
from profiler.graph.op_shape import shape_of

CHEAP_FUNCTIONS = (Function.RELU, Function.RELU6)  # a comparison, as a kernel stores its result

# XNNPACK unrolls depthwise kernels up to 25 taps; larger ones take a path many times slower
LARGEST_UNROLLED_KERNEL = 5
WORK_TERMS = (
    "overhead",
    "dense_madds",
    "pointwise_madds",
    "depthwise_madds",
    "large_depthwise_madds",
    "depthwise_strided_outputs",
    "excitation_madds",
    "edge_elements",
    "inner_elements",
    "gated_elements",
    "hard_swish_elements",
    "parameters",
)
SHAPE_FEATURES = (
    "log_madds",
    "log_bytes_moved",
    "log_in_channels",
    "log_mid_channels",
    "log_out_channels",
    "log_kernel",
    "stride",
    "se",
    "log_height_px",
    "ragged_channels",
    "log_batch_size",
    "log_threads",
)


def work(op: Op, channel_block: int) -> Floats:
    """[terms] amounts of work, each of which costs time in proportion (`WORK_TERMS`).

    Kernels compute whole vectors of `channel_block` channels, so that 72 channels cost as
    much as 80 where the block is 16. All but the overhead and the parameters grow with the
    batch.
    """
    shape, vectors = shape_of(op), Vectors(channel_block)
    amounts = dict.fromkeys(WORK_TERMS, 0.0)
    amounts["overhead"] = 1
    amounts["parameters"] = op.graph.params
    amounts["edge_elements"] = vectors.elements(*op.graph.inputs, *op.graph.outputs)
    for node in shape.inner:
        amounts["inner_elements"] += vectors.elements(node.output)
    for node in op.graph.nodes:
        for term, amount in _layer_work(node, in_gate=shape.in_gate(node), vectors=vectors):
            amounts[term] += amount
    return np.array([amounts[term] for term in WORK_TERMS], np.float64)


@dataclass(frozen=True, slots=True)
class Vectors:
    """Counts in whole vectors of `channel_block` channels."""

    channel_block: int

    def channels(self, tensor: Tensor) -> int:
        return -(-tensor.shape[1] // self.channel_block) * self.channel_block

    def elements(self, *tensors: Tensor) -> int:
        return sum(t.shape[0] * self.channels(t) * prod(t.shape[2:]) for t in tensors)


Amounts = Iterable[tuple[str, float]]


def _layer_work(node: Node, *, in_gate: bool, vectors: Vectors) -> Amounts:
    """What one layer adds; what is not here is done with the layer before it, or seldom met."""
    match node.layer:
        case Convolution() if in_gate:
            return [("excitation_madds", node.madds)]
        case Convolution(strides=strides) as layer if layer.is_depthwise:
            return _window_work(layer.kernel, strides, node.output, vectors)
        case Pool(_, kernel, strides):
            return _window_work(kernel, strides, node.output, vectors)
        case Convolution() as layer if not layer.is_pointwise:
            return [("dense_madds", node.madds)]
        case Linear() | MatMul() if len(node.output.shape) > 2:
            return [("pointwise_madds", node.madds)]
        case Convolution() | Linear() | MatMul():
            channels = vectors.channels(node.inputs[0])
            return [("pointwise_madds", vectors.elements(node.output) * channels)]
        case Activation(function) if function not in CHEAP_FUNCTIONS and not in_gate:
            return [("hard_swish_elements", vectors.elements(node.output))]
        case Elementwise(Operation.MULTIPLY):
            return [("gated_elements", vectors.elements(node.output))]
        case _:
            return []


def _window_work(kernel: Shape, strides: Shape, output: Tensor, vectors: Vectors) -> Amounts:
    """Of a window that slides over each channel."""
    elements = vectors.elements(output)
    yield "depthwise_madds", elements * prod(kernel)
    if max(kernel) > LARGEST_UNROLLED_KERNEL:
        yield "large_depthwise_madds", elements * prod(kernel)
    if max(strides) > 1:
        yield "depthwise_strided_outputs", elements


def work_matrix(ops: Sequence[Op], threads: Floats, channel_block: int) -> Floats:
    """[n, 2 · terms]: work done serially, and work divided among the threads."""
    serial = np.array([work(op, channel_block) for op in ops]).reshape(-1, len(WORK_TERMS))
    return np.hstack([serial, serial / np.asarray(threads)[:, None]])


def shape_matrix(ops: Sequence[Op], threads: Floats, channel_block: int) -> Floats:
    """[n, features] of `SHAPE_FEATURES`."""
    rows = [
        [
            math.log1p(shape.graph.madds),
            math.log(shape.graph.bytes_moved),
            math.log(shape.in_channels),
            math.log1p(shape.mid_channels),
            math.log(shape.out_channels),
            math.log(shape.kernel),
            shape.stride,
            shape.has_gate,
            math.log(shape.in_px[0]),
            shape.mid_channels % channel_block > 0,
            math.log(shape.batch_size),
            math.log(n_threads),
        ]
        for shape, n_threads in zip(map(shape_of, ops), threads, strict=True)
    ]
    return np.array(rows, np.float64).reshape(-1, len(SHAPE_FEATURES))
