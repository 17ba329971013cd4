"""Look-ups in an ONNX graph, and the small expressions that exporters write in several ways."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3_ops import Activation

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

KNOWN_OPS = frozenset(
    {
        *("Conv", "BatchNormalization", "Gemm", "MatMul"),
        *("Relu", "HardSwish", "HardSigmoid", "Clip", "Add", "Mul", "Div"),
        *("GlobalAveragePool", "AveragePool", "ReduceMean"),
        *("Flatten", "Reshape", "Squeeze", "Identity", "Dropout", "Constant"),
    }
)
SMALL = 16  # elements of a constant whose values may matter (the rest are weights)


@dataclass(frozen=True)
class Match:
    """A sub-expression: the tensor it reads and the nodes it is made of."""

    source: str
    nodes: tuple[NodeProto, ...]

    def after(self, *nodes: NodeProto) -> Match:
        return replace(self, nodes=(*nodes, *self.nodes))


@dataclass(frozen=True)
class ConvMatch(Match):
    """A convolution with its BatchNorm and activation."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    groups: int
    activation: Activation

    @property
    def is_pointwise(self) -> bool:
        return self.kernel == 1 and self.groups == 1 and self.stride == 1

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.in_channels == self.out_channels > 1


class OnnxGraph:
    """Look-ups in a graph, and which of its nodes have become part of an op."""

    def __init__(self, graph: GraphProto) -> None:
        from onnx import numpy_helper

        self._graph = graph
        self._producer = {name: node for node in graph.node for name in node.output}
        self._claimed: set[str] = set()
        self.dims = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self._values = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in graph.initializer
            if math.prod(tensor.dims) <= SMALL and not tensor.external_data
        }
        for node in graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.dims[node.output[0]] = tuple(attribute.t.dims)
                        self._values[node.output[0]] = numpy_helper.to_array(attribute.t)
                self._claimed.add(node.output[0])
        inputs = [value for value in graph.input if value.name not in self.dims]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise InvalidInputError(
                f"the model has {len(inputs)} inputs and {len(graph.output)} outputs; "
                "expected one of each"
            )
        known = {"", inputs[0].name, *self.dims}
        for node in graph.node:
            if not known.issuperset(node.input):
                raise InvalidInputError(f"{describe(node)} reads a tensor that nothing makes")
            known.update(node.output)
        self._image, self.input, self.output = inputs[0], inputs[0].name, graph.output[0].name

    def input_shape(self, batch_size: int) -> tuple[int, int, int, int]:
        """Batch, channels, height, width of the input image."""
        dims = [dim.dim_value for dim in self._image.type.tensor_type.shape.dim]
        if len(dims) != 4 or not all(dims[1:]):
            raise InvalidInputError(
                f"the input has shape {dims}; expected a batch of images of fixed size "
                "(channels, height, width)"
            )
        return dims[0] or batch_size, dims[1], dims[2], dims[3]

    def node(self, tensor: str, *op_types: str) -> NodeProto | None:
        """The node that makes `tensor`, if it is of one of `op_types`."""
        node = self._producer.get(tensor)
        return node if node is not None and node.op_type in op_types else None

    def producer(self, tensor: str) -> str:
        node = self._producer.get(tensor)
        return describe(node) if node is not None else f"tensor {tensor!r}"

    def through(self, tensor: str) -> str:
        """`tensor` before nodes that do nothing at inference."""
        while node := self.node(tensor, "Identity", "Dropout"):
            self._claimed.add(node.output[0])
            tensor = node.input[0]
        return tensor

    def flattened(self, tensor: str) -> str:
        """`tensor` before a change from [n, c, 1, 1] to [n, c]."""
        tensor = self.through(tensor)
        node = self.node(tensor, "Flatten", "Reshape", "Squeeze")
        if node is None:
            return tensor
        self._claimed.add(node.output[0])
        return self.through(node.input[0])

    def value(self, tensor: str) -> NDArray[Any] | None:
        """The value of a small constant."""
        return self._values.get(self.through(tensor))

    def weight(self, node: NodeProto, index: int = 1) -> tuple[int, ...]:
        """Shape of a node's constant input."""
        dims = self.dims.get(self.through(node.input[index]))
        if dims is None:
            raise InvalidInputError(f"{describe(node)}: its weights are not constants")
        return dims

    def claim(self, match: Match) -> None:
        for node in match.nodes:
            if node.output[0] in self._claimed:
                raise InvalidInputError(f"{describe(node)} is part of two ops")
            self._claimed.add(node.output[0])

    def refuse_unknown_ops(self) -> None:
        unknown: dict[str, list[str]] = {}
        for node in self._graph.node:
            if node.domain not in ("", "ai.onnx") or node.op_type not in KNOWN_OPS:
                unknown.setdefault(f"{node.domain}.{node.op_type}".lstrip("."), []).append(
                    node.name or node.output[0]
                )
        if unknown:
            named = "; ".join(
                f"{op_type} ({names[0]}{f' and {len(names) - 1} more' if names[1:] else ''})"
                for op_type, names in sorted(unknown.items())
            )
            raise InvalidInputError(f"ops that are not known and so cannot be predicted: {named}")

    def refuse_unclaimed(self) -> None:
        left = [node for node in self._graph.node if node.output[0] not in self._claimed]
        if left:
            raise InvalidInputError(
                f"{len(left)} nodes are not part of a known op, first {describe(left[0])}"
            )


def describe(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]!r}"


def attributes_of(node: NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


# --- expressions --------------------------------------------------------------------------


def _constant_pairs(graph: OnnxGraph, node: NodeProto) -> Iterator[tuple[str, float]]:
    """The other input, and the value, of each input of `node` that is a scalar constant."""
    for tensor, other in ((0, 1), (1, 0)):
        value = graph.value(node.input[other])
        if value is not None and value.size == 1:
            yield node.input[tensor], float(value.reshape(()))


def _sixth(graph: OnnxGraph, tensor: str) -> Match | None:
    """x / 6, or x · (1/6)."""
    node = graph.node(tensor, "Div", "Mul")
    if node is None:
        return None
    wanted = 6.0 if node.op_type == "Div" else 1 / 6
    for source, value in _constant_pairs(graph, node):
        if math.isclose(value, wanted, rel_tol=1e-3) and (
            node.op_type == "Mul" or source == node.input[0]
        ):
            return Match(graph.through(source), (node,))
    return None


def _clipped_shift(graph: OnnxGraph, tensor: str) -> Match | None:
    """clip(x + 3, 0, 6)."""
    clip = graph.node(tensor, "Clip")
    if clip is None or len(clip.input) != 3:
        return None
    bounds = [graph.value(name) for name in clip.input[1:]]
    if [b.item() for b in bounds if b is not None and b.size == 1] != [0, 6]:
        return None
    add = graph.node(graph.through(clip.input[0]), "Add")
    if add is not None:
        for source, value in _constant_pairs(graph, add):
            if value == 3:
                return Match(graph.through(source), (clip, add))
    return None


def hard_sigmoid_of(graph: OnnxGraph, tensor: str) -> Match | None:
    """clip(x + 3, 0, 6) / 6 in any of its forms."""
    node = graph.node(tensor, "HardSigmoid")
    if node is not None:
        attributes = {"alpha": 0.2, "beta": 0.5} | attributes_of(node)
        if math.isclose(attributes["alpha"], 1 / 6, rel_tol=1e-3) and (attributes["beta"] == 0.5):
            return Match(graph.through(node.input[0]), (node,))
        return None
    sixth = _sixth(graph, tensor)
    shift = _clipped_shift(graph, sixth.source) if sixth else None
    return shift.after(*sixth.nodes) if sixth and shift else None


def _hard_swish_of(graph: OnnxGraph, tensor: str) -> Match | None:
    """x · clip(x + 3, 0, 6) / 6 in any of its forms."""
    node = graph.node(tensor, "HardSwish")
    if node is not None:
        return Match(graph.through(node.input[0]), (node,))
    sixth = _sixth(graph, tensor)
    product = graph.node(sixth.source if sixth else tensor, "Mul")
    if product is None:
        return None
    for x, other in (product.input, reversed(product.input)):
        gate = graph.through(other)
        inner = _clipped_shift(graph, gate) if sixth else hard_sigmoid_of(graph, gate)
        if inner is not None and inner.source == graph.through(x):
            return inner.after(*(sixth.nodes if sixth else ()), product)
    return None


def activation_of(graph: OnnxGraph, tensor: str) -> tuple[Activation, Match]:
    """The activation that `tensor` is the result of, if any."""
    relu = graph.node(tensor, "Relu")
    if relu is not None:
        return Activation.RELU, Match(graph.through(relu.input[0]), (relu,))
    swish = _hard_swish_of(graph, tensor)
    return (Activation.HARD_SWISH, swish) if swish else (Activation.NONE, Match(tensor, ()))


def conv_of(graph: OnnxGraph, tensor: str) -> ConvMatch | None:
    """Convolution, BatchNorm, activation."""
    activation, match = activation_of(graph, tensor)
    nodes, source = match.nodes, match.source
    norm = graph.node(source, "BatchNormalization")
    if norm is not None:
        nodes, source = (*nodes, norm), graph.through(norm.input[0])
    node = graph.node(source, "Conv")
    if node is None:
        return None
    out_channels, in_per_group, *kernel = graph.weight(node)
    attributes = attributes_of(node)
    strides = attributes.get("strides", [1] * len(kernel))
    pads = attributes.get("pads", [0] * 2 * len(kernel))
    same = attributes.get("auto_pad") == b"SAME_UPPER"
    if (
        len(kernel) != 2
        or len({*kernel}) != 1
        or kernel[0] % 2 == 0
        or len({*strides}) != 1
        or {*attributes.get("dilations", [1])} != {1}
        or not (same or pads == [kernel[0] // 2] * 4)
    ):
        raise InvalidInputError(
            f"{describe(node)}: only odd square kernels, equal strides, no dilation and padding of "
            f"half the kernel are known (kernel {kernel}, strides {strides}, pads {pads})"
        )
    groups = attributes.get("group", 1)
    return ConvMatch(
        graph.through(node.input[0]), (*nodes, node), in_per_group * groups, out_channels,
        kernel[0], strides[0], groups, activation,
    )  # fmt: skip


def mean_of(graph: OnnxGraph, tensor: str) -> tuple[Match, int | None] | None:
    """Mean over the image, and the size it is taken over (None: the whole image)."""
    node = graph.node(tensor, "GlobalAveragePool", "ReduceMean", "AveragePool")
    if node is None:
        return None
    attributes = attributes_of(node)
    size: int | None = None
    if node.op_type == "ReduceMean":
        axes = attributes.get("axes")
        if axes is None and len(node.input) > 1:
            axes = graph.value(node.input[1])
        if axes is None or sorted(int(a) % 4 for a in axes) != [2, 3]:
            raise InvalidInputError(f"{describe(node)}: a mean over axes other than the image")
    elif node.op_type == "AveragePool":
        kernel = attributes["kernel_shape"]
        if len({*kernel}) != 1 or any(attributes.get("pads", ())):
            raise InvalidInputError(f"{describe(node)}: only pooling of the whole image is known")
        size = kernel[0]
    return Match(graph.through(node.input[0]), (node,)), size
