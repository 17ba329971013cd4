"""A graph as a TFLite model, written directly (no converter), float32 or int8.

Tensors of four axes are stored with the channels last, as TFLite's images are; others as they
are.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.graph import tflite_graph
from profiler.graph.folding import fold, fold_weights
from profiler.graph.graph import Graph, Weights
from profiler.graph.tflite_builder import (
    TFLiteBuilder,
)
from profiler.graph.tflite_layers import write_layer

Precision = Literal["float32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")


def export_tflite(
    graph: Graph,
    weights: Weights,
    *,
    precision: Precision = "float32",
    calibration_images: NDArray[np.float32] | None = None,
) -> bytes:
    """The file of a graph, BatchNorm folded where a convolution comes before it.

    Inputs bear the graph's names; its output is ``output``, several are ``output0``,
    ``output1``, ... With `precision` ``"int8"`` inputs and outputs are int8 (full-integer
    post-training quantisation); the ranges of all activations are taken from
    `calibration_images` [m, h, w, c].

    Raises:
        InvalidInputError: a layer that TFLite has not; int8 without calibration images, or
            images of another shape.
        DeviceUnavailableError: ai-edge-litert is not installed.
    """
    if precision == "float32":
        return build_graph(graph, weights).serialise()
    from profiler.graph.quantize import calibrate, quantize

    if calibration_images is None:
        raise InvalidInputError("int8 export needs calibration images [m, h, w, c]")
    built = build_graph(graph, weights, native_hard_swish=False)
    return quantize(built, calibrate(built, calibration_images)).serialise()


def build_graph(
    graph: Graph, weights: Weights, *, native_hard_swish: bool = True
) -> tflite_graph.TFLiteGraph:
    """The float32 graph that `export_tflite` serialises or quantises.

    Without `native_hard_swish` the activation is written as ADD, RELU6, MUL, MUL: XNNPACK has no
    int8 HARD_SWISH, and each one would split the graph into two delegates.
    """
    folded = fold(graph)
    builder = TFLiteBuilder(folded, fold_weights(graph, weights), native_hard_swish)
    for node in folded.nodes:
        if node.output.name not in builder.indices:  # else fused into the node before
            write_layer(node.layer, node, builder)
    return builder.finished()
