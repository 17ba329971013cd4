"""Layers as operators of TFLite: one function for each kind.

An activation that alone reads a layer is fused into it where TFLite can.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.graph import layers
from profiler.graph.graph import Node
from profiler.graph.layers import Function, Operation, Shape, Statistic
from profiler.graph.tflite_builder import (
    CHANNELS_LAST,
    FUSING,
    TFLiteBuilder,
    in_stored_order,
    refusal,
    stored_axis,
    stored_shape,
)
from profiler.graph.tflite_moves import write_move


@singledispatch
def write_layer(layer: layers.Layer, node: Node, builder: TFLiteBuilder) -> None:
    """Add the operators of one layer.

    Raises:
        InvalidInputError: a layer that TFLite has not.
    """
    write_move(layer, node, builder)


@write_layer.register
def _(layer: layers.Convolution, node: Node, builder: TFLiteBuilder) -> None:
    if len(layer.kernel) != 2:
        raise refusal(node, f"{len(layer.kernel)} axes")
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
        raise refusal(node, f"kernel {layer.kernel}, {layer.groups} groups or dilation")
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
    y = builder.slice(y, begin, stored_shape(node.output.shape), f"{node.name}.inside")
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
        raise refusal(node, f"{len(node.output.shape)} axes")
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
        raise refusal(node, f"{len(node.output.shape)} axes")
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
            raise refusal(node, function)
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
        raise refusal(node, f"axis {layer.axis}")
    x, shape = [builder.x(node)], stored_shape(node.output.shape)
    builder.make(node, builder.apply("SOFTMAX", x, shape, node.name, "SoftmaxOptions", beta=1.0))


@write_layer.register
def _(layer: layers.Pool, node: Node, builder: TFLiteBuilder) -> None:
    if len(layer.kernel) != 2 or set(layer.dilations) != {1}:
        raise refusal(node, f"kernel {layer.kernel} with dilations {layer.dilations}")
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
    else:  # what stays is in another order, or its channels are to be the last
        axes, shape = sorted(layer.axes), node.output.shape
        y = _reduced(layer.statistic, axes, builder.plain(node), False, shape, node, builder)
        builder.make(node, builder.stored(y, f"{node.name}.last"))


def _reduce(
    statistic: Statistic,
    axes: list[int],
    x: int,
    keeps_axes: bool,
    node: Node,
    builder: TFLiteBuilder,
) -> None:
    shape = stored_shape(node.output.shape)
    builder.make(node, _reduced(statistic, axes, x, keeps_axes, shape, node, builder))


def _reduced(
    statistic: Statistic,
    axes: list[int],
    x: int,
    keeps_axes: bool,
    shape: Shape,
    node: Node,
    builder: TFLiteBuilder,
) -> int:
    code = {"mean": "MEAN", "max": "REDUCE_MAX", "min": "REDUCE_MIN", "sum": "SUM"}[statistic]
    inputs = [x, builder.integers(f"{node.name}.axes", axes)]
    return builder.apply(code, inputs, shape, node.name, "ReducerOptions", keepDims=keeps_axes)


@write_layer.register
def _(layer: layers.MatMul, node: Node, builder: TFLiteBuilder) -> None:
    inputs = [builder.plain(node), builder.plain(node, 1)]
    options = "BatchMatMulOptions"
    y = builder.apply("BATCH_MATMUL", inputs, node.output.shape, node.name, options)
    builder.make(node, builder.stored(y, f"{node.name}.last"))
