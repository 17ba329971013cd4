"""A graph as an ONNX model, written directly (no tracing), float32."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from profiler.errors import InvalidInputError
from profiler.graph import layers, moves
from profiler.graph.folding import fold, fold_weights
from profiler.graph.graph import Graph, Node, Tensor, Weights
from profiler.graph.layers import Function, Operation, Statistic
from profiler.graph.moves import Interpolation

OPSET = 17
LATEST_OPSET = 20  # up to which nothing that is written here means anything else, but reductions
IR_VERSION = 8


def export_onnx(graph: Graph, weights: Weights, *, opset: int = OPSET) -> bytes:
    """The file of a graph, BatchNorm folded where a convolution comes before it.

    Inputs bear the graph's names; its output is ``output``, several are ``output0``,
    ``output1``, ...

    Raises:
        InvalidInputError: a layer that ONNX has not, or not in this form in this opset.
    """
    serialised: bytes = build_model(graph, weights, opset=opset).SerializeToString()
    return serialised


def build_model(graph: Graph, weights: Weights, *, opset: int = OPSET) -> ModelProto:
    """The ModelProto that `export_onnx` serialises."""
    reduces = any(isinstance(node.layer, layers.Reduce) for node in graph.nodes)
    if not OPSET <= opset <= (OPSET if reduces else LATEST_OPSET):
        raise InvalidInputError(f"this graph cannot be written in opset {opset}")
    folded = fold(graph)
    writer = _Writer(folded, fold_weights(graph, weights))
    for node in folded.nodes:
        write_layer(node.layer, node, writer)
    proto = helper.make_graph(
        writer.nodes,
        "pnag",
        [_value_info(tensor.name, tensor) for tensor in folded.inputs],
        [_value_info(writer.name(tensor), tensor) for tensor in folded.outputs],
        writer.initializers,
    )
    model: ModelProto = helper.make_model(
        proto,
        producer_name="pnag",
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSION,
    )
    return model


def _value_info(name: str, tensor: Tensor) -> Any:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(name, element, list(tensor.shape))


class _Writer:
    """Nodes and initializers so far."""

    def __init__(self, graph: Graph, weights: Weights) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._weights = weights
        several = len(graph.outputs) > 1
        self._renamed = {
            tensor.name: f"output{index}" if several else "output"
            for index, tensor in enumerate(graph.outputs)
        }

    def name(self, tensor: Tensor) -> str:
        return self._renamed.get(tensor.name, tensor.name)

    def add(self, op_type: str, node: Node, *constants: str, **attributes: Any) -> None:
        """The ONNX node that is all of `node`; `constants` follow its inputs."""
        inputs = [*map(self.name, node.inputs), *constants]
        outputs = [self.name(tensor) for tensor in node.outputs]
        self.nodes.append(helper.make_node(op_type, inputs, outputs, name=node.name, **attributes))

    def part(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """A node of several that together are a layer."""
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def weights(self, node: Node) -> list[str]:
        """Initializers of the node's weights, by their names in the graph."""
        names = list(node.weight_shapes)
        for name in names:
            self.initializers.append(numpy_helper.from_array(self._weights[name], name))
        return names

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def integers(self, node: Node, what: str, values: Sequence[int]) -> str:
        return self.constant(f"{node.name}.{what}", np.array(values, np.int64))


# --- one function per layer kind --------------------------------------------------------------


@singledispatch
def write_layer(layer: layers.Layer, node: Node, writer: _Writer) -> None:
    """Add the ONNX nodes of one layer.

    Raises:
        InvalidInputError: a layer that ONNX has not.
    """
    raise InvalidInputError(f"{node.name}: {type(layer).__name__} cannot be written as ONNX")


@write_layer.register
def _(layer: layers.Convolution, node: Node, writer: _Writer) -> None:
    writer.add("Conv", node, *writer.weights(node), **_window(layer), group=layer.groups)


@write_layer.register
def _(layer: layers.TransposedConvolution, node: Node, writer: _Writer) -> None:
    attributes = _window(layer) | {"group": layer.groups}
    if any(layer.output_padding):
        attributes["output_padding"] = list(layer.output_padding)
    writer.add("ConvTranspose", node, *writer.weights(node), **attributes)


@write_layer.register
def _(layer: layers.Linear, node: Node, writer: _Writer) -> None:
    if len(node.inputs[0].shape) == 2:
        writer.add("Gemm", node, *writer.weights(node), transB=1)
        return
    weight, *bias = writer.weights(node)
    turned = writer.part("Transpose", [weight], f"{weight}.turned", perm=[1, 0])
    if not bias:
        writer.add("MatMul", node, turned)
        return
    product = writer.part("MatMul", [writer.name(node.inputs[0]), turned], f"{node.name}.product")
    writer.part("Add", [product, *bias], writer.name(node.output))


@write_layer.register
def _(layer: layers.BatchNorm, node: Node, writer: _Writer) -> None:
    writer.add("BatchNormalization", node, *writer.weights(node), epsilon=layer.eps)


@write_layer.register
def _(layer: layers.LayerNorm, node: Node, writer: _Writer) -> None:
    weights = writer.weights(node)
    writer.add("LayerNormalization", node, *weights, axis=-layer.n_axes, epsilon=layer.eps)


@write_layer.register
def _(layer: layers.PRelu, node: Node, writer: _Writer) -> None:
    (weight,) = writer.weights(node)
    # broadcast from the right: one number per channel needs the axes behind it
    shape = [-1, *[1] * (len(node.inputs[0].shape) - 2)]
    slope = writer.part(
        "Reshape", [weight, writer.integers(node, "slope.shape", shape)], f"{node.name}.slope"
    )
    writer.add("PRelu", node, slope)


@write_layer.register
def _(layer: layers.Constant, node: Node, writer: _Writer) -> None:
    if layer.number is None:
        writer.part("Identity", writer.weights(node), writer.name(node.output))
    else:
        writer.constant(writer.name(node.output), np.full(layer.shape, layer.number, np.float32))


_FUNCTIONS = {
    Function.RELU: "Relu",
    Function.HARD_SWISH: "HardSwish",
    Function.SIGMOID: "Sigmoid",
    Function.TANH: "Tanh",
    Function.ELU: "Elu",
    Function.SOFTPLUS: "Softplus",
    Function.ERF: "Erf",
    Function.EXP: "Exp",
    Function.LOG: "Log",
    Function.SQRT: "Sqrt",
    Function.ABS: "Abs",
    Function.NEGATIVE: "Neg",
}


@write_layer.register
def _(layer: layers.Activation, node: Node, writer: _Writer) -> None:
    x = writer.name(node.inputs[0])
    match layer.function:
        case Function.HARD_SIGMOID:
            writer.add("HardSigmoid", node, alpha=1 / 6, beta=0.5)
        case Function.RELU6:
            _clip(node, 0, 6, writer)
        case Function.SILU:
            gate = writer.part("Sigmoid", [x], f"{node.name}.gate")
            writer.add("Mul", node, gate)
        case Function.GELU:  # x · (1 + erf(x / √2)) / 2, which runtimes fuse again
            root = writer.constant(f"{node.name}.root", np.array(2**0.5, np.float32))
            one = writer.constant(f"{node.name}.one", np.array(1, np.float32))
            half = writer.constant(f"{node.name}.half", np.array(0.5, np.float32))
            scaled = writer.part("Div", [x, root], f"{node.name}.scaled")
            error = writer.part("Erf", [scaled], f"{node.name}.erf")
            sum_ = writer.part("Add", [error, one], f"{node.name}.sum")
            product = writer.part("Mul", [x, sum_], f"{node.name}.product")
            writer.part("Mul", [product, half], writer.name(node.output))
        case function:
            writer.add(_FUNCTIONS[function], node)


@write_layer.register
def _(layer: layers.LeakyRelu, node: Node, writer: _Writer) -> None:
    writer.add("LeakyRelu", node, alpha=layer.slope)


@write_layer.register
def _(layer: layers.Clip, node: Node, writer: _Writer) -> None:
    _clip(node, layer.low, layer.high, writer)


_OPERATIONS = {
    Operation.ADD: "Add",
    Operation.SUBTRACT: "Sub",
    Operation.MULTIPLY: "Mul",
    Operation.DIVIDE: "Div",
    Operation.POWER: "Pow",
    Operation.MAXIMUM: "Max",
    Operation.MINIMUM: "Min",
}


@write_layer.register
def _(layer: layers.Elementwise, node: Node, writer: _Writer) -> None:
    writer.add(_OPERATIONS[layer.operation], node)


@write_layer.register
def _(layer: layers.Softmax, node: Node, writer: _Writer) -> None:
    writer.add("Softmax", node, axis=layer.axis)


@write_layer.register
def _(layer: layers.Pool, node: Node, writer: _Writer) -> None:
    # Runtimes disagree on windows that are only partly inside; a padding that holds them does not
    padding = layer.padding_used(node.inputs[0].shape[2:])
    if padding != layer.padding and layer.counts_padding:
        raise InvalidInputError(
            f"{node.name}: ONNX has no mean that counts half a window's padding"
        )
    attributes = _window(layer) | {"pads": list(padding)}
    if layer.statistic is Statistic.MAX:
        writer.add("MaxPool", node, **attributes)
    else:
        writer.add("AveragePool", node, **attributes, count_include_pad=int(layer.counts_padding))


@write_layer.register
def _(layer: layers.GlobalPool, node: Node, writer: _Writer) -> None:
    writer.add({"mean": "GlobalAveragePool", "max": "GlobalMaxPool"}[layer.statistic], node)


@write_layer.register
def _(layer: layers.Reduce, node: Node, writer: _Writer) -> None:
    keeps = int(layer.keeps_axes)
    if layer.statistic is Statistic.SUM:  # the first whose axes became an input
        writer.add("ReduceSum", node, writer.integers(node, "axes", layer.axes), keepdims=keeps)
    else:
        name = f"Reduce{layer.statistic.title()}"
        writer.add(name, node, axes=list(layer.axes), keepdims=keeps)


@write_layer.register
def _(layer: moves.Concat, node: Node, writer: _Writer) -> None:
    writer.add("Concat", node, axis=layer.axis)


@write_layer.register
def _(layer: moves.Split, node: Node, writer: _Writer) -> None:
    writer.add("Split", node, writer.integers(node, "sizes", layer.sizes), axis=layer.axis)


@write_layer.register
def _(layer: moves.Slice, node: Node, writer: _Writer) -> None:
    parts = {
        "starts": layer.starts,
        "ends": layer.ends,
        "axes": range(len(layer.starts)),
        "steps": layer.steps,
    }
    constants = [writer.integers(node, what, values) for what, values in parts.items()]
    writer.add("Slice", node, *constants)


@write_layer.register
def _(layer: moves.Gather, node: Node, writer: _Writer) -> None:
    writer.add("Gather", node, writer.integers(node, "indices", layer.indices), axis=layer.axis)


@write_layer.register
def _(layer: moves.Pad, node: Node, writer: _Writer) -> None:
    constants = [writer.integers(node, "borders", layer.padding)]
    if layer.mode is moves.PadMode.CONSTANT:
        constants.append(writer.constant(f"{node.name}.fill", np.array(layer.value, np.float32)))
    writer.add("Pad", node, *constants, mode=str(layer.mode))


@write_layer.register
def _(layer: moves.Resize, node: Node, writer: _Writer) -> None:
    size = writer.integers(node, "size", node.output.shape)
    match layer.interpolation:
        case Interpolation.NEAREST:
            attributes = {
                "mode": "nearest",
                "coordinate_transformation_mode": "asymmetric",
                "nearest_mode": "floor",
            }
        case Interpolation.LINEAR:
            attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        case Interpolation.LINEAR_CORNERS:
            attributes = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    writer.add("Resize", node, "", "", size, **attributes)


@write_layer.register
def _(layer: moves.Reshape, node: Node, writer: _Writer) -> None:
    shape = node.inputs[0].shape
    if len(layer.shape) == 2 and layer.shape[0] == shape[0]:
        writer.add("Flatten", node, axis=1)
    else:
        writer.add("Reshape", node, writer.integers(node, "shape", layer.shape))


@write_layer.register
def _(layer: moves.Transpose, node: Node, writer: _Writer) -> None:
    writer.add("Transpose", node, perm=list(layer.permutation))


@write_layer.register
def _(layer: layers.MatMul, node: Node, writer: _Writer) -> None:
    writer.add("MatMul", node)


def _clip(node: Node, low: float, high: float, writer: _Writer) -> None:
    bounds = [
        writer.constant(f"{node.name}.{what}", np.array(value, np.float32))
        for what, value in (("low", low), ("high", high))
    ]
    writer.add("Clip", node, *bounds)


def _window(
    layer: layers.Convolution | layers.TransposedConvolution | layers.Pool,
) -> dict[str, Any]:
    attributes = {
        "kernel_shape": list(layer.kernel),
        "strides": list(layer.strides),
        "pads": list(layer.padding),
    }
    if set(layer.dilations) != {1}:
        attributes["dilations"] = list(layer.dilations)
    return attributes
