"""Layers that only say where elements lie, as TFLite's operators: one function for each kind."""

from __future__ import annotations

from functools import singledispatch

from profiler.graph import layers, moves, tflite_graph
from profiler.graph.graph import Node
from profiler.graph.moves import Interpolation
from profiler.graph.tflite_builder import (
    CHANNELS_LAST,
    TFLiteBuilder,
    in_stored_order,
    refusal,
    stored_axis,
    stored_shape,
)
from profiler.graph.tflite_graph import TFLiteOperator


@singledispatch
def write_move(layer: layers.Layer, node: Node, builder: TFLiteBuilder) -> None:
    """Add the operators of one layer.

    Raises:
        InvalidInputError: a layer that TFLite has not.
    """
    raise refusal(node)


@write_move.register
def _(layer: moves.Concat, node: Node, builder: TFLiteBuilder) -> None:
    inputs = [builder.x(node, position) for position in range(len(node.inputs))]
    axis, shape = stored_axis(layer.axis, node.output.shape), stored_shape(node.output.shape)
    y = builder.apply("CONCATENATION", inputs, shape, node.name, "ConcatenationOptions", axis=axis)
    builder.make(node, y)


@write_move.register
def _(layer: moves.Split, node: Node, builder: TFLiteBuilder) -> None:
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


@write_move.register
def _(layer: moves.Slice, node: Node, builder: TFLiteBuilder) -> None:
    shape = stored_shape(node.output.shape)
    starts = in_stored_order(layer.starts)
    if set(layer.steps) == {1}:
        builder.make(node, builder.slice(builder.x(node), starts, shape, node.name))
        return
    inputs = [
        builder.x(node),
        builder.integers(f"{node.name}.starts", starts),
        builder.integers(f"{node.name}.ends", in_stored_order(layer.ends)),
        builder.integers(f"{node.name}.steps", in_stored_order(layer.steps)),
    ]
    y = builder.apply("STRIDED_SLICE", inputs, shape, node.name, "StridedSliceOptions")
    builder.make(node, y)


@write_move.register
def _(layer: moves.Gather, node: Node, builder: TFLiteBuilder) -> None:
    inputs = [builder.x(node), builder.integers(f"{node.name}.indices", layer.indices)]
    axis, shape = stored_axis(layer.axis, node.inputs[0].shape), stored_shape(node.output.shape)
    builder.make(
        node, builder.apply("GATHER", inputs, shape, node.name, "GatherOptions", axis=axis)
    )


@write_move.register
def _(layer: moves.Pad, node: Node, builder: TFLiteBuilder) -> None:
    rank = len(node.output.shape)
    if layer.mode is moves.PadMode.EDGE:
        raise refusal(node, "the edge's pixels")
    begins, ends = in_stored_order(layer.padding[:rank]), in_stored_order(layer.padding[rank:])
    borders = builder.integers(f"{node.name}.borders", list(zip(begins, ends, strict=True)))
    inputs, shape = [builder.x(node), borders], stored_shape(node.output.shape)
    if layer.mode is moves.PadMode.REFLECT:
        y = builder.apply("MIRROR_PAD", inputs, shape, node.name, "MirrorPadOptions", mode=0)
    elif layer.value:
        inputs.append(builder.scalar(f"{node.name}.fill", layer.value))
        y = builder.apply("PADV2", inputs, shape, node.name, "PadV2Options")
    else:
        y = builder.apply("PAD", inputs, shape, node.name, "PadOptions")
    builder.make(node, y)


@write_move.register
def _(layer: moves.Resize, node: Node, builder: TFLiteBuilder) -> None:
    if len(layer.size) != 2:
        raise refusal(node, f"{len(layer.size)} axes")
    inputs = [builder.x(node), builder.integers(f"{node.name}.size", layer.size)]
    shape = stored_shape(node.output.shape)
    if layer.interpolation is Interpolation.NEAREST:
        code, options, fields = "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", {}
    else:
        corners = layer.interpolation is Interpolation.LINEAR_CORNERS
        code, options = "RESIZE_BILINEAR", "ResizeBilinearOptions"
        fields = {"alignCorners": corners, "halfPixelCenters": not corners}
    builder.make(node, builder.apply(code, inputs, shape, node.name, options, **fields))


@write_move.register
def _(layer: moves.Reshape, node: Node, builder: TFLiteBuilder) -> None:
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


@write_move.register
def _(layer: moves.Transpose, node: Node, builder: TFLiteBuilder) -> None:
    permutation = layer.permutation
    if len(permutation) == 4:
        permutation = tuple(CHANNELS_LAST.index(permutation[axis]) for axis in CHANNELS_LAST)
    builder.make(node, builder.transpose(builder.x(node), permutation, node.name))
