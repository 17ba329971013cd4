"""A graph as a TFLite model, written directly (no converter), float32 or int8.

Tensors of four axes are stored with the channels last, as TFLite's images are; others as they
are. An activation that alone reads a layer is fused into it where TFLite can.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.graph import layers, tflite_graph
from profiler.graph.folding import fold, fold_weights
from profiler.graph.graph import Graph, Node, Weights
from profiler.graph.layers import Function, Interpolation, Operation, Shape, Statistic
from profiler.graph.tflite_builder import (
    CHANNELS_LAST,
    FUSING,
    TFLiteBuilder,
    in_stored_order,
    stored_axis,
    stored_shape,
)
from profiler.graph.tflite_graph import TFLiteOperator

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


# --- one function per layer kind --------------------------------------------------------------


@singledispatch
def write_layer(layer: layers.Layer, node: Node, builder: TFLiteBuilder) -> None:
    """Add the operators of one layer.

    Raises:
        InvalidInputError: a layer that TFLite has not.
    """
    raise _refusal(node)


def _refusal(node: Node, what: str = "") -> InvalidInputError:
    kind = type(node.layer).__name__
    return InvalidInputError(f"{node.name}: TFLite has no {kind}{f' of {what}' if what else ''}")


@write_layer.register
def _(layer: layers.Convolution, node: Node, builder: TFLiteBuilder) -> None:
    if len(layer.kernel) != 2:
        raise _refusal(node, f"{len(layer.kernel)} axes")
    in_channels = node.inputs[0].shape[1]
    x, padding = _padded(layer, node, builder)
    activation, last = builder.fuse(node)
    fields: dict[str, Any] = {
        "padding": padding,
        "strideH": layer.strides[0],
        "strideW": layer.strides[1],
        "dilationHFactor": layer.dilations[0],
        "dilationWFactor": layer.dilations[1],
        "fusedActivationFunction": activation,
    }
    if layer.groups == in_channels > 1 or (layer.groups == 1 == in_channels == layer.out_channels):
        code, order = "DEPTHWISE_CONV_2D", (1, 2, 3, 0)  # [1, k, k, out]
        fields["depthMultiplier"] = layer.out_channels // in_channels
    else:
        code, order = "CONV_2D", (0, 2, 3, 1)  # [out, k, k, in / groups]
    kernel = builder.weights[f"{node.name}.weight"].transpose(order)
    options = "DepthwiseConv2DOptions" if code.startswith("DEPTHWISE") else "Conv2DOptions"
    inputs = [x, *_parameters(kernel, layer.out_channels, node, builder)]
    y = builder.apply(code, inputs, stored_shape(node.output.shape), node.name, options, **fields)
    builder.make(last, y)


def _padded(layer: layers.Convolution, node: Node, builder: TFLiteBuilder) -> tuple[int, int]:
    """The input, with a border where TFLite's own paddings are others, and which of these."""
    padding = builder.schema.Padding
    if set(layer.strides) == {1} and layer.padding == same_padding(layer, node.inputs[0].shape):
        return builder.x(node), padding.SAME
    if not any(layer.padding):
        return builder.x(node), padding.VALID
    return builder.pad(builder.x(node), layer.padding, f"{node.name}.pad"), padding.VALID


def same_padding(layer: layers.Convolution | layers.Pool, shape: Shape) -> Shape:
    """What TFLite's SAME pads: as many windows as strides fit, the odd pixel at the end."""
    totals = [
        max(0, ((size - 1) // stride) * stride + dilation * (kernel - 1) + 1 - size)
        for size, stride, dilation, kernel in zip(
            shape[2:], layer.strides, layer.dilations, layer.kernel, strict=True
        )
    ]
    return (*(total // 2 for total in totals), *(total - total // 2 for total in totals))


def _parameters(
    kernel: NDArray[np.float32], out_channels: int, node: Node, builder: TFLiteBuilder
) -> tuple[int, int]:
    """Constants of weight and bias; XNNPACK wants a bias, so an absent one is zero."""
    bias = builder.weights.get(f"{node.name}.bias", np.zeros(out_channels, np.float32))
    return (
        builder.constant(f"{node.name}.weight", kernel),
        builder.constant(f"{node.name}.bias", bias),
    )


@write_layer.register
def _(layer: layers.TransposedConvolution, node: Node, builder: TFLiteBuilder) -> None:
    if len(layer.kernel) != 2 or layer.groups != 1 or set(layer.dilations) != {1}:
        raise _refusal(node, f"kernel {layer.kernel}, {layer.groups} groups or dilation")
    n, _, *size = node.inputs[0].shape
    whole = [(pixels - 1) * stride + kernel for pixels, stride, kernel in zip(
        size, layer.strides, layer.kernel, strict=True
    )]  # fmt: skip
    height, width = (
        max(pixels, layer.padding[axis] + node.output.shape[2 + axis])
        for axis, pixels in enumerate(whole)
    )
    shape = (n, height, width, layer.out_channels)
    kernel = builder.weights[f"{node.name}.weight"].transpose(1, 2, 3, 0)
    y = builder.apply(
        "TRANSPOSE_CONV",
        [
            builder.integers(f"{node.name}.size", shape),
            builder.constant(f"{node.name}.weight", kernel),
            builder.x(node),
        ],
        shape,
        f"{node.name}.whole",
        "TransposeConvOptions",
        padding=builder.schema.Padding.VALID,
        strideH=layer.strides[0],
        strideW=layer.strides[1],
    )
    begin = (0, *layer.padding[:2], 0)
    y = _sliced(y, begin, stored_shape(node.output.shape), f"{node.name}.inside", builder)
    if layer.bias:
        bias = builder.constant(f"{node.name}.bias", builder.weights[f"{node.name}.bias"])
        y = builder.binary("ADD", y, bias, node.name)
    builder.make(node, y)


@write_layer.register
def _(layer: layers.Linear, node: Node, builder: TFLiteBuilder) -> None:
    kernel = builder.weights[f"{node.name}.weight"]
    rank = len(node.inputs[0].shape)
    activation, last = builder.fuse(node)
    x = builder.x(node) if rank == 2 else builder.plain(node)
    inputs = [x, *_parameters(kernel, layer.out_features, node, builder)]
    y = builder.apply(
        "FULLY_CONNECTED", inputs, node.output.shape, node.name, "FullyConnectedOptions",
        fusedActivationFunction=activation, keepNumDims=rank > 2,
    )  # fmt: skip
    builder.make(last, builder.stored(y, f"{node.name}.last"))


@write_layer.register
def _(layer: layers.BatchNorm, node: Node, builder: TFLiteBuilder) -> None:
    names = ("weight", "bias", "running_mean", "running_var")
    scale, shift, mean, variance = (builder.weights[f"{node.name}.{name}"] for name in names)
    factor = (scale / np.sqrt(variance + layer.eps)).astype(np.float32)
    offset = (shift - mean * factor).astype(np.float32)
    if len(node.output.shape) not in (2, 4):  # elsewhere the channels are not the last axis
        raise _refusal(node, f"{len(node.output.shape)} axes")
    y = builder.binary(
        "MUL",
        builder.x(node),
        builder.constant(f"{node.name}.factor", factor),
        f"{node.name}.scaled",
    )
    activation, last = builder.fuse(node)
    offset_index = builder.constant(f"{node.name}.offset", offset)
    builder.make(last, builder.binary("ADD", y, offset_index, node.name, activation))


@write_layer.register
def _(layer: layers.PRelu, node: Node, builder: TFLiteBuilder) -> None:
    if len(node.output.shape) != 4:
        raise _refusal(node, f"{len(node.output.shape)} axes")
    slope = builder.weights[f"{node.name}.weight"].reshape(1, 1, -1)
    channels = node.output.shape[1]
    slope = np.broadcast_to(slope, (1, 1, channels))
    x, alpha = builder.x(node), builder.constant(f"{node.name}.weight", slope)
    builder.make(node, _simple("PRELU", node, builder, x, alpha))


@write_layer.register
def _(layer: layers.Constant, node: Node, builder: TFLiteBuilder) -> None:
    if layer.number is None:
        values = builder.weights[f"{node.name}.value"]
    else:
        values = np.full(layer.shape, layer.number, np.float32)
    if values.ndim == 4:
        values = values.transpose(CHANNELS_LAST)
    builder.make(node, builder.constant(node.name, values))


_EMPTY_OPTIONS = {
    "HARD_SWISH": "HardSwishOptions",
    "GELU": "GeluOptions",
    "EXP": "ExpOptions",
    "ABS": "AbsOptions",
    "NEG": "NegOptions",
}


def _simple(code: str, node: Node, builder: TFLiteBuilder, *inputs: int) -> int:
    """An operator that makes a tensor of the output's shape; its options have no fields."""
    options = _EMPTY_OPTIONS.get(code, "NONE")
    shape = stored_shape(node.output.shape)
    return builder.apply(code, inputs or [builder.x(node)], shape, node.name, options)


_FUNCTIONS = {
    Function.RELU: "RELU",
    Function.RELU6: "RELU6",
    Function.SIGMOID: "LOGISTIC",
    Function.TANH: "TANH",
    Function.ELU: "ELU",
    Function.GELU: "GELU",
    Function.EXP: "EXP",
    Function.LOG: "LOG",
    Function.SQRT: "SQRT",
    Function.ABS: "ABS",
    Function.NEGATIVE: "NEG",
}


@write_layer.register
def _(layer: layers.Activation, node: Node, builder: TFLiteBuilder) -> None:
    x, name = builder.x(node), node.name
    match layer.function:
        case Function.HARD_SWISH if builder.native_hard_swish:
            y = _simple("HARD_SWISH", node, builder)
        case Function.HARD_SWISH:
            y = builder.binary("MUL", x, builder.hard_sigmoid(x, f"{name}.gate"), name)
        case Function.HARD_SIGMOID:
            y = builder.hard_sigmoid(x, name)
        case Function.SILU:
            shape = builder.shape(x)
            gate = builder.apply("LOGISTIC", [x], shape, f"{name}.gate", "NONE")
            y = builder.binary("MUL", x, gate, name)
        case function if function in _FUNCTIONS:
            y = _simple(_FUNCTIONS[function], node, builder)
        case function:
            raise _refusal(node, function)
    builder.make(node, y)


@write_layer.register
def _(layer: layers.LeakyRelu, node: Node, builder: TFLiteBuilder) -> None:
    shape = stored_shape(node.output.shape)
    x, options = [builder.x(node)], "LeakyReluOptions"
    y = builder.apply("LEAKY_RELU", x, shape, node.name, options, alpha=layer.slope)
    builder.make(node, y)


@write_layer.register
def _(layer: layers.Clip, node: Node, builder: TFLiteBuilder) -> None:
    if (layer.low, layer.high) == (0, 6):
        builder.make(node, _simple("RELU6", node, builder))
        return
    low = builder.scalar(f"{node.name}.low", layer.low)
    high = builder.scalar(f"{node.name}.high", layer.high)
    y = builder.binary("MAXIMUM", builder.x(node), low, f"{node.name}.from")
    builder.make(node, builder.binary("MINIMUM", y, high, node.name))


_OPERATIONS = {
    Operation.ADD: "ADD",
    Operation.SUBTRACT: "SUB",
    Operation.MULTIPLY: "MUL",
    Operation.DIVIDE: "DIV",
    Operation.POWER: "POW",
    Operation.MAXIMUM: "MAXIMUM",
    Operation.MINIMUM: "MINIMUM",
}


@write_layer.register
def _(layer: layers.Elementwise, node: Node, builder: TFLiteBuilder) -> None:
    rank = len(node.output.shape)
    a, b = (_broadcastable(node, position, rank, builder) for position in (0, 1))
    activation, last = builder.fuse(node)
    code = _OPERATIONS[layer.operation]
    if code not in FUSING:
        activation, last = 0, node
    builder.make(last, builder.binary(code, a, b, node.name, activation))


def _broadcastable(node: Node, position: int, rank: int, builder: TFLiteBuilder) -> int:
    """An operand whose axes are those of an output of four axes, if it has several."""
    x, shape = builder.x(node, position), node.inputs[position].shape
    if rank != 4 or len(shape) in (0, 4):
        return x
    name = f"{node.name}.operand{position}"
    x = builder.reshape(x, (*[1] * (rank - len(shape)), *shape), name)
    return builder.stored(x, f"{name}.last")


@write_layer.register
def _(layer: layers.Softmax, node: Node, builder: TFLiteBuilder) -> None:
    rank = len(node.output.shape)
    if stored_axis(layer.axis, node.output.shape) != rank - 1:
        raise _refusal(node, f"axis {layer.axis}")
    x, shape = [builder.x(node)], stored_shape(node.output.shape)
    builder.make(node, builder.apply("SOFTMAX", x, shape, node.name, "SoftmaxOptions", beta=1.0))


@write_layer.register
def _(layer: layers.Pool, node: Node, builder: TFLiteBuilder) -> None:
    if len(layer.kernel) != 2 or set(layer.dilations) != {1}:
        raise _refusal(node, f"kernel {layer.kernel} with dilations {layer.dilations}")
    is_max = layer.statistic is Statistic.MAX
    x, size = builder.x(node), node.inputs[0].shape[2:]
    padding, code = builder.schema.Padding.VALID, "MAX_POOL_2D" if is_max else "AVERAGE_POOL_2D"
    borders = layer.padding_used(size)
    if any(borders):
        fill = float(np.finfo(np.float32).min) if is_max else 0.0
        x = builder.pad(x, borders, f"{node.name}.pad", fill)
    shape = stored_shape(node.output.shape)
    y = builder.apply(
        code, [x], shape, node.name, "Pool2DOptions", padding=padding,
        strideH=layer.strides[0], strideW=layer.strides[1],
        filterHeight=layer.kernel[0], filterWidth=layer.kernel[1],
    )  # fmt: skip
    divisors = _divisors(layer, size, node.output.shape[2:])
    if not is_max and (divisors != np.prod(layer.kernel)).any():
        factor = (np.prod(layer.kernel) / divisors).astype(np.float32)[None, :, :, None]
        y = builder.binary("MUL", y, builder.constant(f"{node.name}.factor", factor), node.name)
    builder.make(node, y)


def _divisors(layer: layers.Pool, size: Shape, windows: Shape) -> NDArray[np.int64]:
    """[h, w] how many elements the mean of every window is over."""
    counts = []
    for axis, n_windows in enumerate(windows):
        begin, end = layer.padding[axis], layer.padding[2 + axis]
        starts = np.arange(n_windows) * layer.strides[axis] - begin
        low, high = (-begin, size[axis] + end) if layer.counts_padding else (0, size[axis])
        stops = np.minimum(starts + layer.kernel[axis], high)
        counts.append(stops - np.maximum(starts, low))
    rows, columns = counts
    divisors: NDArray[np.int64] = rows[:, None] * columns
    return divisors


@write_layer.register
def _(layer: layers.GlobalPool, node: Node, builder: TFLiteBuilder) -> None:
    axes = [stored_axis(axis, node.inputs[0].shape) for axis in range(2, len(node.output.shape))]
    _reduce(layer.statistic, axes, builder.x(node), True, node, builder)


@write_layer.register
def _(layer: layers.Reduce, node: Node, builder: TFLiteBuilder) -> None:
    shape = node.inputs[0].shape
    axes = sorted(stored_axis(axis, shape) for axis in layer.axes)
    kept = [axis for axis in in_stored_order(range(len(shape))) if axis not in layer.axes]
    if layer.keeps_axes or (kept == sorted(kept) and len(kept) != 4):
        _reduce(layer.statistic, axes, builder.x(node), layer.keeps_axes, node, builder)
    else:  # what stays is in another order
        _reduce(layer.statistic, sorted(layer.axes), builder.plain(node), False, node, builder)


def _reduce(
    statistic: Statistic,
    axes: list[int],
    x: int,
    keeps_axes: bool,
    node: Node,
    builder: TFLiteBuilder,
) -> None:
    code = {"mean": "MEAN", "max": "REDUCE_MAX", "min": "REDUCE_MIN", "sum": "SUM"}[statistic]
    inputs = [x, builder.integers(f"{node.name}.axes", axes)]
    shape = stored_shape(node.output.shape)
    y = builder.apply(code, inputs, shape, node.name, "ReducerOptions", keepDims=keeps_axes)
    builder.make(node, y)


@write_layer.register
def _(layer: layers.Concat, node: Node, builder: TFLiteBuilder) -> None:
    inputs = [builder.x(node, position) for position in range(len(node.inputs))]
    axis, shape = stored_axis(layer.axis, node.output.shape), stored_shape(node.output.shape)
    y = builder.apply("CONCATENATION", inputs, shape, node.name, "ConcatenationOptions", axis=axis)
    builder.make(node, y)


@write_layer.register
def _(layer: layers.Split, node: Node, builder: TFLiteBuilder) -> None:
    outputs = []
    for tensor in node.outputs:
        index = builder.graph.add_tensor(
            tflite_graph.TFLiteTensor(tensor.name, stored_shape(tensor.shape))
        )
        builder.indices[tensor.name] = index
        outputs.append(index)
    axis = stored_axis(layer.axis, node.inputs[0].shape)
    inputs = (
        builder.x(node),
        builder.integers(f"{node.name}.sizes", layer.sizes),
        builder.integers(f"{node.name}.axis", axis),
    )
    fields = {"numSplits": len(layer.sizes)}
    operator = TFLiteOperator("SPLIT_V", inputs, tuple(outputs), "SplitVOptions", fields)
    builder.graph.operators.append(operator)


@write_layer.register
def _(layer: layers.Slice, node: Node, builder: TFLiteBuilder) -> None:
    shape = stored_shape(node.output.shape)
    starts = in_stored_order(layer.starts)
    if set(layer.steps) == {1}:
        builder.make(node, _sliced(builder.x(node), starts, shape, node.name, builder))
        return
    inputs = [
        builder.x(node),
        builder.integers(f"{node.name}.starts", starts),
        builder.integers(f"{node.name}.ends", in_stored_order(layer.ends)),
        builder.integers(f"{node.name}.steps", in_stored_order(layer.steps)),
    ]
    y = builder.apply("STRIDED_SLICE", inputs, shape, node.name, "StridedSliceOptions")
    builder.make(node, y)


def _sliced(x: int, begin: Sequence[int], shape: Shape, name: str, builder: TFLiteBuilder) -> int:
    if builder.shape(x) == shape:
        return x
    inputs = [x, builder.integers(f"{name}.begin", begin), builder.integers(f"{name}.size", shape)]
    return builder.apply("SLICE", inputs, shape, name, "SliceOptions")


@write_layer.register
def _(layer: layers.Gather, node: Node, builder: TFLiteBuilder) -> None:
    inputs = [builder.x(node), builder.integers(f"{node.name}.indices", layer.indices)]
    axis, shape = stored_axis(layer.axis, node.inputs[0].shape), stored_shape(node.output.shape)
    builder.make(
        node, builder.apply("GATHER", inputs, shape, node.name, "GatherOptions", axis=axis)
    )


@write_layer.register
def _(layer: layers.Pad, node: Node, builder: TFLiteBuilder) -> None:
    rank = len(node.output.shape)
    if layer.mode is layers.PadMode.EDGE:
        raise _refusal(node, "the edge's pixels")
    begins, ends = in_stored_order(layer.padding[:rank]), in_stored_order(layer.padding[rank:])
    borders = builder.integers(f"{node.name}.borders", list(zip(begins, ends, strict=True)))
    inputs, shape = [builder.x(node), borders], stored_shape(node.output.shape)
    if layer.mode is layers.PadMode.REFLECT:
        y = builder.apply("MIRROR_PAD", inputs, shape, node.name, "MirrorPadOptions", mode=0)
    elif layer.value:
        inputs.append(builder.scalar(f"{node.name}.fill", layer.value))
        y = builder.apply("PADV2", inputs, shape, node.name, "PadV2Options")
    else:
        y = builder.apply("PAD", inputs, shape, node.name, "PadOptions")
    builder.make(node, y)


@write_layer.register
def _(layer: layers.Resize, node: Node, builder: TFLiteBuilder) -> None:
    if len(layer.size) != 2:
        raise _refusal(node, f"{len(layer.size)} axes")
    inputs = [builder.x(node), builder.integers(f"{node.name}.size", layer.size)]
    shape = stored_shape(node.output.shape)
    if layer.interpolation is Interpolation.NEAREST:
        code, options, fields = "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", {}
    else:
        corners = layer.interpolation is Interpolation.LINEAR_CORNERS
        code, options = "RESIZE_BILINEAR", "ResizeBilinearOptions"
        fields = {"alignCorners": corners, "halfPixelCenters": not corners}
    builder.make(node, builder.apply(code, inputs, shape, node.name, options, **fields))


@write_layer.register
def _(layer: layers.Reshape, node: Node, builder: TFLiteBuilder) -> None:
    reader = builder.source.only_reader(node.output)
    n, *rest = node.inputs[0].shape
    if (
        reader is not None
        and isinstance(reader.layer, layers.Linear)
        and rest[1:] == [1, 1]
        and (layer.shape == (n, rest[0]))
    ):  # FULLY_CONNECTED takes [n, 1, 1, c] as it is
        builder.make(node, builder.x(node))
        return
    y = builder.reshape(builder.plain(node), layer.shape, node.name)
    builder.make(node, builder.stored(y, f"{node.name}.last"))


@write_layer.register
def _(layer: layers.Transpose, node: Node, builder: TFLiteBuilder) -> None:
    permutation = layer.permutation
    if len(permutation) == 4:
        permutation = tuple(CHANNELS_LAST.index(permutation[axis]) for axis in CHANNELS_LAST)
    builder.make(node, builder.transpose(builder.x(node), permutation, node.name))


@write_layer.register
def _(layer: layers.MatMul, node: Node, builder: TFLiteBuilder) -> None:
    inputs = [builder.plain(node), builder.plain(node, 1)]
    options = "BatchMatMulOptions"
    y = builder.apply("BATCH_MATMUL", inputs, node.output.shape, node.name, options)
    builder.make(node, builder.stored(y, f"{node.name}.last"))
