"""An ONNX network split into the ops that a latency table is made of.

The graph is read from its output backwards, one op at a time, whichever way its exporter wrote
it: BatchNorm folded or not, hard-swish as one node or as its arithmetic, pooling as a pooling
or a mean. Every node must become part of an op: what is not understood is named in the error,
never left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3_ops import Activation, OpConfig, OpKind
from profiler.spaces.mobilenetv3_patterns import (
    Match,
    OnnxGraph,
    activation_of,
    attributes_of,
    conv_of,
    describe,
    hard_sigmoid_of,
    mean_of,
)
from profiler.system.user_files import read_bytes

if TYPE_CHECKING:
    from onnx import ModelProto


def read_onnx_ops(path: Path, *, batch_size: int = 1) -> list[OpConfig]:
    """The ops of an ONNX file, in order; `batch_size` applies where the file leaves it open.

    Raises:
        InvalidInputError: not an ONNX model, or it holds a node that is not part of a known
            op; the node is named.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        # from bytes: by path, onnx takes a name's suffix for the format
        model = onnx.load_model_from_string(read_bytes(path))
    except DecodeError:
        raise InvalidInputError(f"{path} is not an ONNX model") from None
    try:
        return split_model(model, batch_size=batch_size)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None
    except (TypeError, ValueError, LookupError) as error:  # of a file that is damaged inside
        raise InvalidInputError(f"{path} is not a sound ONNX model: {error}") from None


def split_model(model: ModelProto, *, batch_size: int = 1) -> list[OpConfig]:
    """The ops of a model, as `read_onnx_ops`."""
    graph = OnnxGraph(model.graph)
    graph.refuse_unknown_ops()
    image = graph.input_shape(batch_size)
    parts = []
    tensor = graph.flattened(graph.output)
    while tensor != graph.input:
        part = _part_ending_at(graph, tensor)
        graph.claim(part)
        parts.append(part)
        tensor = graph.through(part.source)
    graph.refuse_unclaimed()
    return _with_shapes(list(reversed(parts)), image)


@dataclass(frozen=True)
class _Part(Match):
    """One op before its input size is known; the kind of a convolution is decided with it."""

    op: OpConfig
    se_channels: int = 0
    has_expansion: bool = False
    has_shortcut: bool = False
    pool_kernel: int | None = None  # None: over the whole image

    @property
    def where(self) -> str:
        return describe(self.nodes[0])


# --- ops ------------------------------------------------------------------------------------


def _part_ending_at(graph: OnnxGraph, tensor: str) -> _Part:
    """The op whose output is `tensor`."""
    linear = _linear(graph, tensor)
    if linear is not None:
        return linear
    pooled = mean_of(graph, tensor)
    if pooled is not None:
        match, size = pooled
        return _Part(match.source, match.nodes, _bare(OpKind.AVG_POOL), pool_kernel=size)
    add = graph.node(tensor, "Add")
    if add is not None:
        for body, shortcut in (add.input, reversed(add.input)):
            for block in _blocks(graph, graph.through(body)):
                if block.source == graph.through(shortcut):
                    return replace(block, nodes=(add, *block.nodes), has_shortcut=True)
        raise InvalidInputError(f"{describe(add)}: not the shortcut of an inverted residual")
    for block in _blocks(graph, tensor):
        return block
    conv = conv_of(graph, tensor)
    if conv is None:
        raise InvalidInputError(f"{graph.producer(tensor)}: not part of a known op")
    if conv.groups != 1 or (conv.kernel == 1 and conv.stride != 1):
        raise InvalidInputError(
            f"{describe(conv.nodes[-1])}: a {conv.kernel}x{conv.kernel} convolution of "
            f"{conv.groups} groups and stride {conv.stride} outside an inverted residual"
        )
    kind = OpKind.CONV_1 if conv.kernel == 1 else OpKind.CONV
    op = replace(
        _bare(kind, conv.in_channels, conv.out_channels), kernel=conv.kernel, stride=conv.stride,
        activation=conv.activation,
    )  # fmt: skip
    return _Part(conv.source, conv.nodes, op)


def _bare(kind: OpKind, in_channels: int = 0, out_channels: int = 0) -> OpConfig:
    return OpConfig(kind, in_channels, out_channels, 0, 0)


def _linear(graph: OnnxGraph, tensor: str) -> _Part | None:
    """Fully connected layer: Gemm, or MatMul with or without Add; and its activation."""
    activation, match = activation_of(graph, tensor)
    nodes, node = match.nodes, graph.node(match.source, "Gemm", "MatMul", "Add")
    if node is not None and node.op_type == "Add":
        products = [graph.node(graph.through(name), "MatMul") for name in node.input]
        has_bias = any(graph.through(name) in graph.dims for name in node.input)
        nodes, node = (*nodes, node), (products[0] or products[1]) if has_bias else None
    if node is None:
        return None
    shape = graph.weight(node)
    if attributes_of(node).get("transB"):
        shape = shape[::-1]
    op = replace(_bare(OpKind.LOGITS, shape[0], shape[1]), activation=activation)
    return _Part(graph.flattened(node.input[0]), (*nodes, node), op)


def _blocks(graph: OnnxGraph, tensor: str) -> Iterator[_Part]:
    """Inverted residuals whose projection makes `tensor`, the one with an expansion first."""
    project = conv_of(graph, tensor)
    if project is None or not project.is_pointwise or project.activation is not Activation.NONE:
        return
    excitation = _excitation(graph, project.source)
    gated = excitation[0] if excitation else Match(project.source, ())
    depthwise = conv_of(graph, gated.source)
    if depthwise is None or not depthwise.is_depthwise:
        return
    op = OpConfig(
        OpKind.MBCONV, depthwise.in_channels, project.out_channels, 0, 0, depthwise.out_channels,
        depthwise.kernel, depthwise.stride, excitation is not None, depthwise.activation,
    )  # fmt: skip
    nodes = (*project.nodes, *gated.nodes, *depthwise.nodes)
    part = _Part(depthwise.source, nodes, op, excitation[1] if excitation else 0)
    expand = conv_of(graph, depthwise.source)
    if expand is not None and expand.is_pointwise and expand.activation is op.activation:
        yield replace(
            part,
            source=expand.source,
            nodes=(*nodes, *expand.nodes),
            op=replace(op, in_channels=expand.in_channels),
            has_expansion=True,
        )
    yield part


def _excitation(graph: OnnxGraph, tensor: str) -> tuple[Match, int] | None:
    """x · hard_sigmoid(W2 · relu(W1 · mean(x))), and its inner channels."""
    product = graph.node(tensor, "Mul")
    if product is None:
        return None
    for x, gate in (product.input, reversed(product.input)):
        sigmoid = hard_sigmoid_of(graph, graph.through(gate))
        excite = conv_of(graph, sigmoid.source) if sigmoid else None
        reduce = conv_of(graph, excite.source) if excite else None
        pooled = mean_of(graph, reduce.source) if reduce else None
        if not (sigmoid and excite and reduce and pooled):
            continue
        squeeze, size = pooled
        if (
            squeeze.source == graph.through(x)
            and size is None
            and reduce.activation is Activation.RELU
            and excite.activation is Activation.NONE
        ):
            inside = (*sigmoid.nodes, *excite.nodes, *reduce.nodes, *squeeze.nodes)
            return Match(squeeze.source, (product, *inside)), reduce.out_channels
    return None


def _with_shapes(parts: Sequence[_Part], image: tuple[int, int, int, int]) -> list[OpConfig]:
    """Give every op its input size, from the image on, and check what it then implies."""
    batch_size, channels, height, width = image
    ops = []
    for part in parts:
        op = replace(part.op, height_px=height, width_px=width, batch_size=batch_size)
        if op.kind is OpKind.AVG_POOL:
            op = replace(op, in_channels=channels, out_channels=channels)
        elif op.kind is OpKind.CONV_1 and height == width == 1:
            op = replace(op, kind=OpKind.CONV_2)
        for wrong, reason in (
            (op.in_channels != channels, f"takes {op.in_channels} channels, gets {channels}"),
            (
                op.kind is OpKind.LOGITS and (height, width) != (1, 1),
                f"a fully connected layer on a {height}x{width} image",
            ),
            (
                part.pool_kernel not in (None, height) or part.pool_kernel not in (None, width),
                f"pools {part.pool_kernel} px of a {height}x{width} image",
            ),
            (
                part.se_channels != op.se_channels,
                f"squeeze-and-excitation of {part.se_channels} channels; known: {op.se_channels}",
            ),
            (
                part.has_expansion != op.has_expansion,
                "an expansion to as many channels as there are",
            ),
            (
                part.has_shortcut != op.has_shortcut,
                f"an inverted residual {'with' if part.has_shortcut else 'without'} shortcut",
            ),
        ):
            if wrong:
                raise InvalidInputError(f"{part.where}: {reason}")
        ops.append(op)
        channels, height, width = op.out_channels, op.out_height_px, op.out_width_px
    return ops
