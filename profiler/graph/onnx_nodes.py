"""ONNX's operators as layers: one small function for each, opsets 7 and later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.graph import layers, moves
from profiler.graph.layers import Function, Operation, Shape, Statistic
from profiler.graph.onnx_moves import READERS as MOVES
from profiler.graph.onnx_operator import Operator, Readers

READERS = Readers(MOVES)
reads = READERS.reads


# --- layers with weights ------------------------------------------------------------------


@reads("Conv")
def _(op: Operator) -> None:
    weight = op.constant(1)
    kernel = weight.shape[2:]
    layer = layers.Convolution(
        weight.shape[0], kernel, *_window(op, kernel), op.get("group", 1), op.has(2)
    )
    op.require(op.shape()[1] == weight.shape[1] * layer.groups, f"{op.shape()[1]} channels")
    op.make(layer, op.x(), weight=weight, **({"bias": op.constant(2)} if op.has(2) else {}))


@reads("ConvTranspose")
def _(op: Operator) -> None:
    weight = op.constant(1)
    kernel = weight.shape[2:]
    output_padding = tuple(op.get("output_padding", [0] * len(kernel)))
    strides, padding, dilations = _window(op, kernel, output_padding)
    groups = op.get("group", 1)
    layer = layers.TransposedConvolution(
        weight.shape[1] * groups, kernel, strides, padding, dilations, output_padding, groups,
        op.has(2),
    )  # fmt: skip
    op.make(layer, op.x(), weight=weight, **({"bias": op.constant(2)} if op.has(2) else {}))


@reads("Gemm")
def _(op: Operator) -> None:
    weight = op.constant(1) if op.get("transB", 0) else op.constant(1).T
    weight = _scaled(weight, op.get("alpha", 1.0))
    op.require(not op.get("transA", 0), "a transposed first input")
    op.require(op.shape()[1:] == weight.shape[1:], f"{op.shape()} times {weight.shape[::-1]}")
    bias = {}
    if op.has(2):
        shift = _scaled(op.constant(2), op.get("beta", 1.0))
        op.require(shift.size in (1, len(weight)), f"a bias of shape {shift.shape}")
        bias["bias"] = np.broadcast_to(shift.reshape(-1), (len(weight),))
    op.make(layers.Linear(len(weight), op.has(2)), op.x(), weight=weight, **bias)


def _scaled(values: NDArray[Any], factor: float) -> NDArray[Any]:
    """In their own type; what is infinite stays what it is, or becomes NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: NDArray[Any] = values * values.dtype.type(factor)
    return scaled


@reads("MatMul")
def _(op: Operator) -> None:
    if op.is_constant(1) and op.constant(1).ndim == 2:
        weight = op.constant(1).T
        op.require(op.shape()[-1:] == weight.shape[1:], f"{op.shape()} times {weight.shape[::-1]}")
        op.make(layers.Linear(len(weight), bias=False), op.x(), weight=weight)
    else:
        op.make(layers.MatMul(), op.x(0), op.x(1))


@reads("BatchNormalization")
def _(op: Operator) -> None:
    op.require(not op.get("training_mode", 0), "statistics of the batch")
    names = ("weight", "bias", "running_mean", "running_var")
    weights = {name: op.constant(index) for index, name in enumerate(names, start=1)}
    op.make(layers.BatchNorm(op.get("epsilon", 1e-5)), op.x(), **weights)


@reads("LayerNormalization")
def _(op: Operator) -> None:
    n_axes = len(op.shape()) - op.axis(-1)
    weight = op.constant(1)
    bias = op.constant(2) if op.has(2) else np.zeros_like(weight)
    op.make(layers.LayerNorm(n_axes, op.get("epsilon", 1e-5)), op.x(), weight=weight, bias=bias)


@reads("PRelu")
def _(op: Operator) -> None:
    slope, channels = op.constant(1), op.shape()[1]
    fits = slope.size == 1 or (
        slope.size == channels and slope.shape[-len(op.shape()) + 1 :][:1] == (channels,)
    )
    op.require(fits, f"slopes of shape {slope.shape}")
    op.make(layers.PRelu(slope.size == channels), op.x(), weight=slope.reshape(-1))


# --- element by element ---------------------------------------------------------------------

_FUNCTIONS = {
    "Relu": Function.RELU,
    "HardSwish": Function.HARD_SWISH,
    "Sigmoid": Function.SIGMOID,
    "Tanh": Function.TANH,
    "Softplus": Function.SOFTPLUS,
    "Erf": Function.ERF,
    "Exp": Function.EXP,
    "Log": Function.LOG,
    "Sqrt": Function.SQRT,
    "Abs": Function.ABS,
    "Neg": Function.NEGATIVE,
}


@reads(*_FUNCTIONS)
def _(op: Operator) -> None:
    op.make(layers.Activation(_FUNCTIONS[op.op_type]))


@reads("Elu")
def _(op: Operator) -> None:
    op.require(op.get("alpha", 1.0) == 1, "alpha other than 1")
    op.make(layers.Activation(Function.ELU))


@reads("Gelu")
def _(op: Operator) -> None:
    op.require(op.get("approximate", b"none") == b"none", "an approximation")
    op.make(layers.Activation(Function.GELU))


@reads("HardSigmoid")
def _(op: Operator) -> None:
    alpha, beta = op.get("alpha", 0.2), op.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-3) and beta == 0.5:
        op.make(layers.Activation(Function.HARD_SIGMOID))
        return
    scaled = op.inner(
        "scaled", MULTIPLY, op.x(), op.inner("alpha", layers.Constant((), float(alpha)))
    )
    shifted = op.inner("shifted", ADD, scaled, op.inner("beta", layers.Constant((), float(beta))))
    op.make(layers.Clip(0, 1), shifted)


@reads("Mish")
def _(op: Operator) -> None:
    softplus = op.inner("softplus", layers.Activation(Function.SOFTPLUS), op.x())
    op.make(MULTIPLY, op.x(), op.inner("tanh", layers.Activation(Function.TANH), softplus))


@reads("LeakyRelu")
def _(op: Operator) -> None:
    op.make(layers.LeakyRelu(op.get("alpha", 0.01)))


@reads("Clip")
def _(op: Operator) -> None:
    low, high = op.setting("min", 1, -math.inf), op.setting("max", 2, math.inf)
    op.make(layers.Clip(*(float(np.reshape(bound, ())) for bound in (low, high))))


ADD = layers.Elementwise(Operation.ADD)
MULTIPLY = layers.Elementwise(Operation.MULTIPLY)
_OPERATIONS = {
    "Add": Operation.ADD,
    "Sum": Operation.ADD,
    "Sub": Operation.SUBTRACT,
    "Mul": Operation.MULTIPLY,
    "Div": Operation.DIVIDE,
    "Pow": Operation.POWER,
    "Max": Operation.MAXIMUM,
    "Min": Operation.MINIMUM,
}


@reads(*_OPERATIONS)
def _(op: Operator) -> None:
    layer = layers.Elementwise(_OPERATIONS[op.op_type])
    if op.n_inputs == 1:
        op.alias()
        return
    x = op.x()
    for index in range(1, op.n_inputs - 1):
        x = op.inner(f"first{index + 1}", layer, x, op.x(index))
    op.make(layer, x, op.x(op.n_inputs - 1))


@reads("Softmax")
def _(op: Operator) -> None:
    axis, shape = op.axis(1 if op.opset < 13 else -1), op.shape()
    if op.opset >= 13 or axis == len(shape) - 1:
        op.make(layers.Softmax(axis))
        return
    flat = (math.prod(shape[:axis]), math.prod(shape[axis:]))  # over all axes from it on
    rows = op.inner("softmax", layers.Softmax(1), op.inner("flat", moves.Reshape(flat), op.x()))
    op.make(moves.Reshape(shape), rows)


# --- windows and whole axes ---------------------------------------------------------------


@reads("MaxPool", "AveragePool")
def _(op: Operator) -> None:
    op.require(op.n_outputs == 1, "positions of the maxima")
    kernel = tuple(op.attributes["kernel_shape"])
    is_max = op.op_type == "MaxPool"
    layer = layers.Pool(
        Statistic.MAX if is_max else Statistic.MEAN,
        kernel,
        *_window(op, kernel),
        rounds_up=bool(op.get("ceil_mode", 0)),
        counts_padding=bool(op.get("count_include_pad", 0)),
    )
    op.make(layer)


@reads("GlobalAveragePool", "GlobalMaxPool")
def _(op: Operator) -> None:
    is_max = op.op_type == "GlobalMaxPool"
    op.make(layers.GlobalPool(Statistic.MAX if is_max else Statistic.MEAN))


@reads("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum")
def _(op: Operator) -> None:
    rank = len(op.shape())
    axes = op.setting("axes", 1)
    if not axes and op.get("noop_with_empty_axes", 0):
        op.alias()
        return
    axes = range(rank) if not axes else sorted(axis % rank for axis in axes)
    statistic = Statistic(op.op_type.removeprefix("Reduce").lower())
    op.make(layers.Reduce(statistic, tuple(axes), bool(op.get("keepdims", 1))))


def _window(
    op: Operator, kernel: Sequence[int], output_padding: Sequence[int] | None = None
) -> tuple[Shape, Shape, Shape]:
    """Strides, padding and dilations of a layer that slides a window.

    `output_padding` is given of one that is transposed, whose output is the larger side.
    """
    rank = len(kernel)
    op.require(0 < rank == len(op.shape()) - 2, f"a window of {rank} axes in {op.shape()}")
    strides = tuple(op.get("strides", [1] * rank))
    dilations = tuple(op.get("dilations", [1] * rank))
    for name, sizes in (("strides", strides), ("dilations", dilations), ("kernel", kernel)):
        op.require(len(sizes) == rank and min(sizes) > 0, f"{name} {list(sizes)}")
    auto_pad = op.get("auto_pad", b"NOTSET").decode("utf-8", "replace")
    stated = op.get("output_shape", None)
    if stated is None and auto_pad in ("NOTSET", "VALID"):
        padding = tuple(op.get("pads", [0] * 2 * rank)) if auto_pad == "NOTSET" else (0,) * 2 * rank
        op.require(len(padding) == 2 * rank and min(padding) >= 0, f"pads {list(padding)}")
        return strides, padding, dilations
    known = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    op.require(auto_pad in known, f"automatic padding {auto_pad!r}")
    sizes = op.shape()[2:]
    reaches = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    if output_padding is None:
        totals = [
            max(0, (-(-size // stride) - 1) * stride + reach - size)
            for size, stride, reach in zip(sizes, strides, reaches, strict=True)
        ]
    else:
        wanted = stated or [size * stride for size, stride in zip(sizes, strides, strict=True)]
        totals = [
            (size - 1) * stride + reach + more - grown
            for size, stride, reach, more, grown in zip(
                sizes, strides, reaches, output_padding, wanted[-rank:], strict=True
            )
        ]
        op.require(min(totals) >= 0, f"an output of {wanted[-rank:]} px, beyond its windows")
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return strides, (*small, *large) if auto_pad == "SAME_UPPER" else (*large, *small), dilations
