"""ONNX's operators that only say where elements lie, as layers: one small function for each."""

from __future__ import annotations

import math

import numpy as np

from profiler.graph import moves
from profiler.graph.layers import Shape
from profiler.graph.moves import Interpolation, PadMode
from profiler.graph.onnx_operator import Operator, Readers

READERS = Readers()
reads = READERS.reads


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
    op.make(moves.Concat(op.axis(0)), *(op.x(index) for index in range(op.n_inputs)))


@reads("Split")
def _(op: Operator) -> None:
    axis = op.axis(0)
    size, count = op.shape()[axis], op.get("num_outputs", op.n_outputs)
    chunk = -(-size // count)
    equal = [*[chunk] * (count - 1), size - chunk * (count - 1)]
    op.make(moves.Split(axis, tuple(op.setting("split", 1, equal))))


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
    op.make(moves.Slice(begins, stops, strides))


@reads("Gather")
def _(op: Operator) -> None:
    axis, indices, shape = op.axis(0), op.constant(1), op.shape()
    op.require(indices.ndim < 2, "a table of indices")
    chosen = tuple(int(index) % shape[axis] for index in indices.reshape(-1))
    if indices.ndim:
        op.make(moves.Gather(axis, chosen))
    else:  # the axis goes
        one = op.inner("one", moves.Gather(axis, chosen), op.x())
        op.make(moves.Reshape((*shape[:axis], *shape[axis + 1 :])), one)


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
    op.make(moves.Pad(tuple(padding), PadMode(mode), float(np.reshape(value, ()))))


@reads("Resize", "Upsample")
def _(op: Operator) -> None:
    shape = op.shape()
    older = "asymmetric" if op.opset < 11 else "half_pixel"
    how = op.get("coordinate_transformation_mode", older.encode()).decode()
    size = _resized(op, shape, by_sizes=how == "align_corners")
    op.require(size[:2] == shape[:2], "a change of the batch or the channels")
    mode = op.get("mode", b"nearest").decode()
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
    op.make(moves.Resize(size[2:], interpolation))


def _resized(op: Operator, shape: Shape, *, by_sizes: bool) -> Shape:
    """The whole output shape of Resize 10-, 11-, or Upsample.

    Unless pixels are found `by_sizes` a scale has to be the ratio of the sizes, as a layer has it.
    """
    op.require("axes" not in op.attributes, "some axes only")
    if op.has(3):
        return tuple(op.constant(3).tolist())
    index = 2 if op.op_type == "Resize" and op.opset >= 11 else 1
    scales = op.setting("scales", index)
    size = []
    for pixels, scale in zip(shape, map(np.float32, scales), strict=True):
        size.append(math.floor(pixels * scale))  # with the rounding of the runtime's float32
        if not by_sizes and np.float32(size[-1] / pixels) != scale:
            raise op.refusal(f"a scale of {scale:.6g} of {pixels} pixels")
    return tuple(size)


@reads("Reshape")
def _(op: Operator) -> None:
    wanted, shape = op.setting("shape", 1), op.shape()
    if not op.get("allowzero", 0):
        wanted = [shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    known = math.prod(size for size in wanted if size != -1)
    op.make(moves.Reshape(tuple(math.prod(shape) // known if s == -1 else s for s in wanted)))


@reads("Flatten")
def _(op: Operator) -> None:
    axis, shape = op.get("axis", 1), op.shape()
    axis += len(shape) * (axis < 0)
    op.make(moves.Reshape((math.prod(shape[:axis]), math.prod(shape[axis:]))))


@reads("Squeeze")
def _(op: Operator) -> None:
    shape = op.shape()
    axes = op.setting("axes", 1) or [axis for axis, size in enumerate(shape) if size == 1]
    dropped = {axis % len(shape) for axis in axes}
    op.make(moves.Reshape(tuple(s for axis, s in enumerate(shape) if axis not in dropped)))


@reads("Unsqueeze")
def _(op: Operator) -> None:
    axes = op.setting("axes", 1)
    rank = len(op.shape()) + len(axes)
    sizes, added = iter(op.shape()), {axis % rank for axis in axes}
    op.make(moves.Reshape(tuple(1 if axis in added else next(sizes) for axis in range(rank))))


@reads("Transpose")
def _(op: Operator) -> None:
    rank = len(op.shape())
    op.make(moves.Transpose(tuple(op.get("perm", range(rank)[::-1]))))


@reads("DepthToSpace")
def _(op: Operator) -> None:
    n, channels, height, width = op.shape()
    block = op.attributes["blocksize"]
    depth = channels // block**2
    if op.get("mode", b"DCR") == b"DCR":
        split, order = (n, block, block, depth, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (n, depth, block, block, height, width), (0, 1, 4, 2, 5, 3)
    parts = op.inner("split", moves.Reshape(split), op.x())
    moved = op.inner("moved", moves.Transpose(order), parts)
    op.make(moves.Reshape((n, depth, height * block, width * block)), moved)


@reads("SpaceToDepth")
def _(op: Operator) -> None:
    n, channels, height, width = op.shape()
    block = op.attributes["blocksize"]
    split = (n, channels, height // block, block, width // block, block)
    parts = op.inner("split", moves.Reshape(split), op.x())
    moved = op.inner("moved", moves.Transpose((0, 3, 5, 1, 2, 4)), parts)
    shape = (n, channels * block**2, height // block, width // block)
    op.make(moves.Reshape(shape), moved)
