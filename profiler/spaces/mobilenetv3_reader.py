"""A network split into the ops that a latency table is made of.

The graph is read from its image on, one op at a time; however its file was written, its layers
are the same. Every layer must become part of an op: what is not understood is named in the
error, never left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from profiler.errors import InvalidInputError
from profiler.graph import layers, moves
from profiler.graph.activations import recognise_activations
from profiler.graph.folding import fold
from profiler.graph.from_onnx import read_onnx
from profiler.graph.graph import Graph, Node, Tensor, listed
from profiler.graph.layers import (
    Constant,
    Convolution,
    Elementwise,
    Function,
    Layer,
    Linear,
    Operation,
    Statistic,
)
from profiler.graph.op import Op
from profiler.spaces.mobilenetv3_ops import OpActivation, OpConfig, OpKind

KNOWN_LAYERS = (Convolution, layers.BatchNorm, Linear, layers.Clip, Constant, moves.Reshape)
KNOWN_FUNCTIONS = (Function.RELU, Function.RELU6, Function.HARD_SIGMOID, Function.HARD_SWISH)
ACTIVATIONS: dict[Layer, OpActivation] = {
    layers.Activation(Function.RELU): OpActivation.RELU,
    layers.Activation(Function.HARD_SWISH): OpActivation.HARD_SWISH,
}
HARD_SIGMOID = layers.Activation(Function.HARD_SIGMOID)
RUN_AS_FLOAT32 = ("float32", "tf32")  # precisions that take a float32 network as it is
ADD, MULTIPLY = Elementwise(Operation.ADD), Elementwise(Operation.MULTIPLY)


def read_onnx_ops(
    path: Path,
    *,
    batch_size: int = 1,
    resolution_px: int | None = None,
    precision: str = "float32",
) -> list[Op]:
    """The ops of an ONNX file, in order; its weights may be missing.

    `batch_size` and `resolution_px` apply where the file leaves them open.

    Raises:
        InvalidInputError: not an ONNX model, an image of other size than `resolution_px`, tensors
            of other type than `precision`, or a node that is not part of a known op; the node is
            named.
    """
    graph = read_onnx(
        path, batch_size=batch_size, resolution_px=resolution_px, needs_weights=False
    ).graph
    try:
        return split_graph(graph, resolution_px=resolution_px, precision=precision)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None


def split_graph(
    graph: Graph, *, resolution_px: int | None = None, precision: str = "float32"
) -> list[Op]:
    """The ops of a graph, as `read_onnx_ops`."""
    _check_ends(graph, resolution_px, precision)
    unknown = [node.origin for node in graph.nodes if not _is_known(node.layer)]
    if unknown:
        raise InvalidInputError(
            f"ops that are not known and so cannot be predicted: {listed(unknown)}"
        )
    graph = fold(recognise_activations(graph))
    ops: list[Op] = []
    x = _without_flattening(graph, graph.inputs[0])
    while x not in graph.outputs:
        op, x = _op_of(graph, x)
        ops.append(op)
        x = _without_flattening(graph, x)
    return ops


def _check_ends(graph: Graph, resolution_px: int | None, precision: str) -> None:
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise InvalidInputError(
            f"the model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
            "expected one of each"
        )
    (image,) = graph.inputs
    if len(image.shape) != 4:
        raise InvalidInputError(
            f"the input has shape {list(image.shape)}; expected a batch of images "
            "(channels, height, width)"
        )
    if image.dtype != ("float32" if precision in RUN_AS_FLOAT32 else precision):
        raise InvalidInputError(f"the file is of {image.dtype}, the table of {precision} networks")
    if resolution_px is not None and image.shape[2:] != (resolution_px, resolution_px):
        height, width = image.shape[2:]
        raise InvalidInputError(
            f"the file fixes an image of {height}x{width} px; {resolution_px} px was asked for"
        )


def _is_known(layer: Layer) -> bool:
    """Whether a layer of its kind can be part of an op."""
    match layer:
        case layers.Pool(statistic) | layers.GlobalPool(statistic) | layers.Reduce(statistic):
            return statistic is Statistic.MEAN
        case layers.Activation(function):
            return function in KNOWN_FUNCTIONS
        case Elementwise(operation):
            return operation in (Operation.ADD, Operation.MULTIPLY, Operation.DIVIDE)
        case _:
            return isinstance(layer, KNOWN_LAYERS)


# --- the layers at a tensor -----------------------------------------------------------------


def _refusal(node: Node, reason: str = "not part of a known op") -> InvalidInputError:
    return InvalidInputError(f"{node.origin}: {reason}")


def _readers(graph: Graph, x: Tensor) -> tuple[Node, ...]:
    """The nodes that read `x`, in order of execution; at least one."""
    readers = graph.readers.get(x.name, ())
    if not readers:
        raise InvalidInputError("the output does not depend on the image")
    return readers


def _sole_reader(graph: Graph, x: Tensor) -> Node:
    """The node that reads `x`, which no other may."""
    node, *others = _readers(graph, x)
    if others:
        raise _refusal(others[0])
    return node


def _without_flattening(graph: Graph, x: Tensor) -> Tensor:
    """`x` after nodes that only drop or add axes of one pixel."""
    while (node := graph.only_reader(x)) and _is_flattening(node):
        x = node.output
    return x


def _is_flattening(node: Node) -> bool:
    before, after = node.inputs[0].shape, node.output.shape
    return isinstance(node.layer, moves.Reshape) and all(
        shape[:2] == before[:2] and set(shape[2:]) <= {1} for shape in (before, after)
    )


def _activated(graph: Graph, y: Tensor) -> tuple[OpActivation, Tensor]:
    """The activation that alone reads `y`, if any, and its output."""
    node = graph.only_reader(y)
    activation = ACTIVATIONS.get(node.layer) if node else None
    return (activation, node.output) if node and activation else (OpActivation.NONE, y)


class _Conv(NamedTuple):
    """A convolution with its activation."""

    node: Node
    out_channels: int
    kernel: int
    stride: int
    groups: int
    activation: OpActivation
    output: Tensor

    @property
    def in_channels(self) -> int:
        return self.node.inputs[0].shape[1]

    @property
    def is_pointwise(self) -> bool:
        return self.kernel == self.groups == self.stride == 1

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.in_channels == self.out_channels > 1

    def outside_a_block(self) -> InvalidInputError:
        return _refusal(
            self.node,
            f"a {self.kernel}x{self.kernel} convolution of {self.groups} groups and stride "
            f"{self.stride} outside an inverted residual",
        )


def _conv(graph: Graph, node: Node | None) -> _Conv | None:
    """The convolution that `node` is, if so."""
    if node is None or not isinstance(node.layer, Convolution):
        return None
    layer = node.layer
    kernel, stride = layer.kernel[0], layer.strides[0]
    covers_image = all(
        after == -(-before // stride)
        for before, after in zip(node.inputs[0].shape[2:], node.output.shape[2:], strict=True)
    )
    if (
        len(layer.kernel) != 2
        or {*layer.kernel} != {kernel}
        or kernel % 2 == 0
        or {*layer.strides} != {stride}
        or {*layer.dilations} != {1}
        or max(layer.padding) > kernel // 2
        or not covers_image
    ):
        raise _refusal(
            node,
            "only odd square kernels, equal strides, no dilation and padding of half the kernel "
            f"are known (kernel {layer.kernel}, strides {layer.strides}, pads {layer.padding})",
        )
    activation, output = _activated(graph, node.output)
    return _Conv(node, layer.out_channels, kernel, stride, layer.groups, activation, output)


def _check_mean(node: Node) -> None:
    """Refuse what is no mean over the whole image."""
    before = node.inputs[0].shape
    match node.layer:
        case layers.GlobalPool(Statistic.MEAN):
            return
        case layers.Reduce(Statistic.MEAN, axes):
            if axes != (2, 3):
                raise _refusal(node, "a mean over axes other than the image")
        case layers.Pool(Statistic.MEAN, kernel, padding=padding):
            if any(padding):
                raise _refusal(node, "only pooling of the whole image is known")
            if kernel != before[2:]:
                sides = "x".join(map(str, dict.fromkeys(kernel)))
                raise _refusal(node, f"pools {sides} px of a {before[2]}x{before[3]} image")
        case _:
            raise _refusal(node)


# --- ops ------------------------------------------------------------------------------------


def _op_of(graph: Graph, x: Tensor) -> tuple[OpConfig, Tensor]:
    """The op that reads `x`, and its output."""
    node, *others = _readers(graph, x)
    conv = _conv(graph, node)
    block = _block(graph, conv) if conv is not None else None
    op, y = block or _single_layer(graph, node, conv)
    add = graph.only_reader(y)
    has_shortcut = add is not None and others == [add] and add.layer == ADD
    if others and not has_shortcut:
        if y not in graph.outputs:
            _op_of(graph, y)  # what breaks the block on the way to the addition says so
        if others[0].layer != ADD:
            raise _refusal(others[0])
        raise _refusal(others[0], "not the shortcut of an inverted residual")
    if has_shortcut != op.has_shortcut:
        with_ = "with" if has_shortcut else "without"
        raise _refusal(graph.producers[y.name], f"an inverted residual {with_} shortcut")
    return op, add.output if add is not None and has_shortcut else y


def _single_layer(graph: Graph, node: Node, conv: _Conv | None) -> tuple[OpConfig, Tensor]:
    """The op that is one layer with its activation."""
    x = node.inputs[0]
    n, channels = x.shape[:2]
    height, width = x.shape[2:] if len(x.shape) == 4 else (1, 1)  # flattened
    if conv is not None:
        if conv.groups != 1 or (conv.kernel == 1 and conv.stride != 1):
            raise conv.outside_a_block()
        kind = OpKind.CONV_2 if height == width == 1 else OpKind.CONV_1
        op = OpConfig(
            OpKind.CONV if conv.kernel > 1 else kind, channels, conv.out_channels, height, width,
            kernel=conv.kernel, stride=conv.stride, activation=conv.activation, batch_size=n,
        )  # fmt: skip
        return op, conv.output
    if isinstance(node.layer, Linear) and len(x.shape) == 2:
        activation, y = _activated(graph, _biased(graph, node.output))
        op = OpConfig(
            OpKind.LOGITS, channels, node.layer.out_features, 1, 1,
            activation=activation, batch_size=n,
        )  # fmt: skip
        return op, y
    _check_mean(node)
    return OpConfig(OpKind.AVG_POOL, channels, channels, height, width, batch_size=n), node.output


def _biased(graph: Graph, product: Tensor) -> Tensor:
    """`product` with the constant that alone is added to it, if any."""
    add = graph.only_reader(product)
    if add is None or add.layer != ADD:
        return product
    makers = [graph.producers.get(tensor.name) for tensor in add.inputs]
    is_bias = any(node is not None and isinstance(node.layer, Constant) for node in makers)
    return add.output if is_bias else product


def _block(graph: Graph, first: _Conv) -> tuple[OpConfig, Tensor] | None:
    """The inverted residual that begins with `first`, without its shortcut."""
    depthwise: _Conv | None = first
    if first.is_pointwise:
        depthwise = _conv(graph, graph.only_reader(first.output))
        if depthwise is None or depthwise.activation is not first.activation:
            return None
    if depthwise is None or not depthwise.is_depthwise:
        return None
    se_channels, gated = _excitation(graph, depthwise.output)
    last = _sole_reader(graph, gated)
    project = _conv(graph, last)
    if project is None:
        raise _refusal(last)
    if not project.is_pointwise or project.activation is not OpActivation.NONE:
        raise depthwise.outside_a_block()
    n, channels, height, width = first.node.inputs[0].shape
    op = OpConfig(
        OpKind.MBCONV, channels, project.out_channels, height, width, depthwise.out_channels,
        depthwise.kernel, depthwise.stride, se_channels > 0, depthwise.activation, n,
    )  # fmt: skip
    if se_channels != op.se_channels:
        reason = f"squeeze-and-excitation of {se_channels} channels; known: {op.se_channels}"
        raise _refusal(depthwise.node, reason)
    if op.has_expansion != (depthwise is not first):
        raise _refusal(first.node, "an expansion to as many channels as there are")
    return op, project.output


def _excitation(graph: Graph, x: Tensor) -> tuple[int, Tensor]:
    """Inner channels and output of x · hard_sigmoid(W2 · relu(W1 · mean(x))); without, 0 and x."""
    squeeze, *others = _readers(graph, x)
    if not others:
        return 0, x
    _check_mean(squeeze)
    gate, channels = _without_flattening(graph, squeeze.output), []
    for activation in (OpActivation.RELU, OpActivation.NONE):
        node = _sole_reader(graph, gate)
        conv = _conv(graph, node)
        if conv is None or not conv.is_pointwise or conv.activation is not activation:
            raise _refusal(node, "not part of a known squeeze-and-excitation")
        channels.append(conv.out_channels)
        gate = conv.output
    sigmoid = _sole_reader(graph, gate)
    if sigmoid.layer != HARD_SIGMOID:
        raise _refusal(sigmoid)
    product = _sole_reader(graph, sigmoid.output)
    if others != [product] or product.layer != MULTIPLY:
        raise _refusal(others[0])
    return channels[0], product.output
