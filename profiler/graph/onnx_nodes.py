"""ONNX's operators as layers: one small function for each, opsets 7 and later."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from profiler.errors import InvalidInputError
from profiler.graph import layers
from profiler.graph.graph import Tensor
from profiler.graph.layers import (
    Function,
    Interpolation,
    Layer,
    Operation,
    PadMode,
    Shape,
    Statistic,
)
from profiler.graph.onnx_tensors import Array, OnnxTensors, attributes_of, origin_of

if TYPE_CHECKING:
    from onnx import NodeProto


class Operator:
    """A node of the file being read: its inputs, and what becomes of its outputs."""

    def __init__(self, tensors: OnnxTensors, node: NodeProto) -> None:
        self._tensors, self._node = tensors, node
        self.opset = tensors.opset
        self.attributes = attributes_of(node)
        self.op_type: str = node.op_type
        self.n_inputs, self.n_outputs = len(node.input), len(node.output)

    def get(self, attribute: str, default: Any) -> Any:
        return self.attributes.get(attribute, default)

    def has(self, index: int) -> bool:
        return index < self.n_inputs and bool(self._node.input[index])

    def is_constant(self, index: int) -> bool:
        return self.has(index) and self._node.input[index] in self._tensors.constants

    def x(self, index: int = 0) -> Tensor:
        return self._tensors.tensor(self._node.input[index])

    def shape(self, index: int = 0) -> Shape:
        return self.x(index).shape

    def constant(self, index: int) -> Array:
        """An input that decides what the layer is."""
        if not self.is_constant(index):
            raise self.refusal(f"its input {index} is not a constant")
        return self._tensors.constants[self._node.input[index]]

    def setting(self, attribute: str, index: int, default: Any = None) -> Any:
        """A value that is an attribute in older opsets and an input in newer ones."""
        if attribute in self.attributes:
            return self.attributes[attribute]
        return self.constant(index).tolist() if self.has(index) else default

    def refusal(self, reason: str) -> InvalidInputError:
        return InvalidInputError(f"{origin_of(self._node)}: {reason}")

    def require(self, is_met: bool, reason: str) -> None:
        if not is_met:
            raise self.refusal(reason)

    def inner(self, suffix: str, layer: Layer, *inputs: Tensor) -> Tensor:
        """A layer of several that together are the node."""
        return self._tensors.add(self._node, f"{self._node.output[0]}.{suffix}", layer, *inputs)[0]

    def make(self, layer: Layer, *inputs: Tensor, **weights: Array) -> None:
        """The layer that makes the node's outputs; by default of its first input."""
        for key, values in weights.items():
            fits = values.dtype.name == self.x().dtype
            self.require(fits, f"a {key} of {values.dtype.name} for a tensor of {self.x().dtype}")
        name = self._node.output[0]
        outputs = self._tensors.add(self._node, name, layer, *(inputs or (self.x(),)))
        for output, tensor in zip(self._node.output, outputs, strict=False):
            self._tensors.made[output] = tensor
        self._tensors.set_weights(name, weights)

    def alias(self) -> None:
        """The output is the first input."""
        self._tensors.made[self._node.output[0]] = self.x()


READERS: dict[str, Callable[[Operator], None]] = {}


def reads(*op_types: str) -> Callable[[Callable[[Operator], None]], Callable[[Operator], None]]:
    def register(function: Callable[[Operator], None]) -> Callable[[Operator], None]:
        READERS.update(dict.fromkeys(op_types, function))
        return function

    return register


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
    weight = weight * weight.dtype.type(op.get("alpha", 1.0))
    op.require(not op.get("transA", 0), "a transposed first input")
    op.require(op.shape()[1:] == weight.shape[1:], f"{op.shape()} times {weight.shape[::-1]}")
    bias = {}
    if op.has(2):
        shift = op.constant(2) * weight.dtype.type(op.get("beta", 1.0))
        op.require(shift.size in (1, len(weight)), f"a bias of shape {shift.shape}")
        bias["bias"] = np.broadcast_to(shift.reshape(-1), (len(weight),))
    op.make(layers.Linear(len(weight), op.has(2)), op.x(), weight=weight, **bias)


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
    n_axes = len(op.shape()) - _axis(op, -1)
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
    axis, shape = _axis(op, 1 if op.opset < 13 else -1), op.shape()
    if op.opset >= 13 or axis == len(shape) - 1:
        op.make(layers.Softmax(axis))
        return
    flat = (math.prod(shape[:axis]), math.prod(shape[axis:]))  # over all axes from it on
    rows = op.inner("softmax", layers.Softmax(1), op.inner("flat", layers.Reshape(flat), op.x()))
    op.make(layers.Reshape(shape), rows)


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


# --- where elements lie -------------------------------------------------------------------


@reads("Identity", "Dropout")
def _(op: Operator) -> None:
    op.alias()


@reads("Cast")
def _(op: Operator) -> None:
    from onnx import helper

    dtype = helper.tensor_dtype_to_np_dtype(op.attributes["to"]).name
    op.require(dtype == op.x().dtype, f"{op.x().dtype} as {dtype}")
    op.alias()


@reads("Concat")
def _(op: Operator) -> None:
    op.make(layers.Concat(_axis(op, 0)), *(op.x(index) for index in range(op.n_inputs)))


@reads("Split")
def _(op: Operator) -> None:
    axis = _axis(op, 0)
    size, count = op.shape()[axis], op.get("num_outputs", op.n_outputs)
    chunk = -(-size // count)
    equal = [*[chunk] * (count - 1), size - chunk * (count - 1)]
    op.make(layers.Split(axis, tuple(op.setting("split", 1, equal))))


@reads("Slice")
def _(op: Operator) -> None:
    shape = op.shape()
    starts, ends = op.setting("starts", 1), op.setting("ends", 2)
    axes = op.setting("axes", 3, range(len(starts)))
    steps = op.setting("steps", 4, [1] * len(starts))
    op.require(min(steps, default=1) > 0, "a step backwards")
    window = [(0, size, 1) for size in shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        window[axis] = slice(start, end, step).indices(shape[axis])
    begins, stops, strides = zip(*window, strict=True)
    op.make(layers.Slice(begins, stops, strides))


@reads("Gather")
def _(op: Operator) -> None:
    axis, indices, shape = _axis(op, 0), op.constant(1), op.shape()
    op.require(indices.ndim < 2, "a table of indices")
    chosen = tuple(int(index) % shape[axis] for index in indices.reshape(-1))
    if indices.ndim:
        op.make(layers.Gather(axis, chosen))
    else:  # the axis goes
        one = op.inner("one", layers.Gather(axis, chosen), op.x())
        op.make(layers.Reshape((*shape[:axis], *shape[axis + 1 :])), one)


@reads("Pad")
def _(op: Operator) -> None:
    rank, padding = len(op.shape()), op.setting("pads", 1)
    if op.has(3):
        axes = [axis % rank for axis in op.constant(3).tolist()]
        sides = zip(padding[: len(axes)], padding[len(axes) :], strict=True)
        given = dict(zip(axes, sides, strict=True))
        padding = [given.get(axis, (0, 0))[side] for side in (0, 1) for axis in range(rank)]
    mode = op.get("mode", b"constant").decode()
    op.require(mode in set(PadMode), f"mode {mode}")
    op.require(min(padding) >= 0, "a negative border")
    value = op.setting("value", 2, 0.0)
    op.make(layers.Pad(tuple(padding), PadMode(mode), float(np.reshape(value, ()))))


@reads("Resize", "Upsample")
def _(op: Operator) -> None:
    shape = op.shape()
    size = _resized(op, shape)
    op.require(size[:2] == shape[:2], "a change of the batch or the channels")
    mode = op.get("mode", b"nearest").decode()
    older = "asymmetric" if op.opset < 11 else "half_pixel"
    how = op.get("coordinate_transformation_mode", older.encode()).decode()
    rounding = op.get("nearest_mode", b"floor" if op.opset < 11 else b"round_prefer_floor").decode()
    whole = all(new % old == 0 for old, new in zip(shape, size, strict=True))
    match mode, how, rounding:
        case "nearest", "asymmetric", "floor":
            interpolation = Interpolation.NEAREST
        case "nearest", "half_pixel", "round_prefer_floor" if whole:  # the same pixels
            interpolation = Interpolation.NEAREST
        case "linear", "half_pixel" | "pytorch_half_pixel", _ if min(size[2:]) > 1:
            interpolation = Interpolation.LINEAR
        case "linear", "align_corners", _:
            interpolation = Interpolation.LINEAR_CORNERS
        case _:
            raise op.refusal(f"mode {mode}, coordinates {how}, rounding {rounding}")
    op.require(not op.get("antialias", 0), "antialiasing")
    op.make(layers.Resize(size[2:], interpolation))


def _resized(op: Operator, shape: Shape) -> Shape:
    """The whole output shape of Resize 10-, 11-, or Upsample."""
    op.require("axes" not in op.attributes, "some axes only")
    if op.has(3):
        return tuple(op.constant(3).tolist())
    index = 2 if op.op_type == "Resize" and op.opset >= 11 else 1
    scales = op.setting("scales", index)
    return tuple(math.floor(pixels * scale) for pixels, scale in zip(shape, scales, strict=True))


@reads("Reshape")
def _(op: Operator) -> None:
    wanted, shape = op.setting("shape", 1), op.shape()
    if not op.get("allowzero", 0):
        wanted = [shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    known = math.prod(size for size in wanted if size != -1)
    op.make(layers.Reshape(tuple(math.prod(shape) // known if s == -1 else s for s in wanted)))


@reads("Flatten")
def _(op: Operator) -> None:
    axis, shape = op.get("axis", 1), op.shape()
    axis += len(shape) * (axis < 0)
    op.make(layers.Reshape((math.prod(shape[:axis]), math.prod(shape[axis:]))))


@reads("Squeeze")
def _(op: Operator) -> None:
    shape = op.shape()
    axes = op.setting("axes", 1) or [axis for axis, size in enumerate(shape) if size == 1]
    dropped = {axis % len(shape) for axis in axes}
    op.make(layers.Reshape(tuple(s for axis, s in enumerate(shape) if axis not in dropped)))


@reads("Unsqueeze")
def _(op: Operator) -> None:
    axes = op.setting("axes", 1)
    rank = len(op.shape()) + len(axes)
    sizes, added = iter(op.shape()), {axis % rank for axis in axes}
    op.make(layers.Reshape(tuple(1 if axis in added else next(sizes) for axis in range(rank))))


@reads("Transpose")
def _(op: Operator) -> None:
    rank = len(op.shape())
    op.make(layers.Transpose(tuple(op.get("perm", range(rank)[::-1]))))


@reads("DepthToSpace")
def _(op: Operator) -> None:
    n, channels, height, width = op.shape()
    block = op.attributes["blocksize"]
    depth = channels // block**2
    if op.get("mode", b"DCR") == b"DCR":
        split, order = (n, block, block, depth, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (n, depth, block, block, height, width), (0, 1, 4, 2, 5, 3)
    parts = op.inner("split", layers.Reshape(split), op.x())
    moved = op.inner("moved", layers.Transpose(order), parts)
    op.make(layers.Reshape((n, depth, height * block, width * block)), moved)


@reads("SpaceToDepth")
def _(op: Operator) -> None:
    n, channels, height, width = op.shape()
    block = op.attributes["blocksize"]
    split = (n, channels, height // block, block, width // block, block)
    parts = op.inner("split", layers.Reshape(split), op.x())
    moved = op.inner("moved", layers.Transpose((0, 3, 5, 1, 2, 4)), parts)
    shape = (n, channels * block**2, height // block, width // block)
    op.make(layers.Reshape(shape), moved)


def _axis(op: Operator, default: int) -> int:
    axis: int = op.get("axis", default)
    return axis % len(op.shape())


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
