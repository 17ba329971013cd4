"""NAS-Bench-201's networks as graphs (Dong & Yang, ICLR 2020; NATS-Bench, TPAMI 2021, Fig. 1).

Three stages of five equal cells, 16, 32 and 64 channels wide, a residual block of stride 2
between them. Layers bear the names of the published networks' state dicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from profiler.graph.graph import Graph, GraphBuilder, Tensor
from profiler.graph.layers import (
    Activation,
    BatchNorm,
    Constant,
    Elementwise,
    Function,
    GlobalPool,
    Linear,
    Operation,
    Pool,
    Statistic,
    square_convolution,
)
from profiler.graph.moves import Reshape

NONE, SKIP, CONV_1X1, CONV_3X3, AVG_POOL = OPERATIONS = (
    "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3",
)  # fmt: skip
KERNELS = {CONV_1X1: 1, CONV_3X3: 3}
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # source and target node
OUTPUT = 3
CELLS_PER_STAGE = 5
STAGE_CHANNELS = (16, 32, 64)

Cell = tuple[str, ...]  # the operation on each of `EDGES`


@dataclass(frozen=True, slots=True)
class CellPlan:
    """What a network computes of a cell.

    Attributes:
        edges: indices of edges that add something to a node on which the output depends.
        zeros: nodes without any such edge that are read all the same: by a convolution, which
            makes a constant of zeros, or as the output.
    """

    edges: tuple[int, ...]
    zeros: tuple[int, ...]


def plan(cell: Cell) -> CellPlan:
    """Leave out what is nothing, or is read by nothing; the function stays the same."""
    filled = {0}
    adding = []
    for index, ((source, target), operation) in enumerate(zip(EDGES, cell, strict=True)):
        if operation in KERNELS or (operation != NONE and source in filled):
            adding.append(index)
            filled.add(target)
    read = {OUTPUT}
    for index in reversed(adding):
        source, target = EDGES[index]
        if target in read:
            read.add(source)
    edges = tuple(index for index in adding if EDGES[index][1] in read)
    return CellPlan(edges, tuple(sorted(read - filled)))


def add_cell(builder: GraphBuilder, name: str, cell: Cell, x: Tensor) -> Tensor:
    """The cell applied to x [n, c, h, w]; nodes are sums over their edges."""
    planned = plan(cell)
    nodes = {0: x}
    if planned.zeros:
        nodes |= dict.fromkeys(planned.zeros, add_zeros(builder, name, x))
    for index in planned.edges:
        source, target = EDGES[index]
        y = add_operation(builder, f"{name}.layers.{index}", cell[index], nodes[source])
        if target in nodes:
            y = builder.add(f"{name}.sum.{index}", Elementwise(Operation.ADD), nodes[target], y)
        nodes[target] = y
    return nodes[OUTPUT]


def add_zeros(builder: GraphBuilder, name: str, x: Tensor) -> Tensor:
    """Of the shape of x, which the published code multiplies by 0."""
    nothing = builder.add(f"{name}.nothing", Constant((), 0.0))
    return builder.add(f"{name}.zeros", Elementwise(Operation.MULTIPLY), x, nothing)


def add_operation(builder: GraphBuilder, name: str, operation: str, x: Tensor) -> Tensor:
    """What an edge does to its source x."""
    if operation in KERNELS:
        return _convolution(builder, f"{name}.op", x, x.shape[1], KERNELS[operation])
    if operation == AVG_POOL:
        return builder.add(f"{name}.op", Pool(Statistic.MEAN, (3, 3), (1, 1), (1,) * 4, (1, 1)), x)
    return x


def add_stem(builder: GraphBuilder, x: Tensor) -> Tensor:
    x = builder.add("stem.0", square_convolution(STAGE_CHANNELS[0], 3), x)
    return builder.add("stem.1", BatchNorm(), x)


def add_reduction(builder: GraphBuilder, name: str, x: Tensor) -> Tensor:
    """Half the pixels, twice the channels: a residual block with a pooled shortcut."""
    out = 2 * x.shape[1]
    y = _convolution(builder, f"{name}.conv_a.op", x, out, 3, 2)
    y = _convolution(builder, f"{name}.conv_b.op", y, out, 3)
    half = Pool(Statistic.MEAN, (2, 2), (2, 2), (0,) * 4, (1, 1))
    short = builder.add(f"{name}.downsample.0", half, x)
    short = builder.add(f"{name}.downsample.1", square_convolution(out), short)
    return builder.add(f"{name}.sum", Elementwise(Operation.ADD), short, y)


def add_head(builder: GraphBuilder, x: Tensor, n_classes: int) -> Tensor:
    x = builder.add("lastact.0", BatchNorm(), x)
    x = builder.add("lastact.1", Activation(Function.RELU), x)
    x = builder.add("global_pooling", GlobalPool(Statistic.MEAN), x)
    x = builder.add("flat", Reshape(x.shape[:2]), x)
    return builder.add("classifier", Linear(n_classes), x)


def cell_network(cell: Cell, resolution_px: int, n_classes: int, batch_size: int = 1) -> Graph:
    """Images [n, 3, h, w] to logits [n, classes]."""
    builder = GraphBuilder()
    x = add_stem(builder, builder.input("input", (batch_size, 3, resolution_px, resolution_px)))
    for name, is_cell in _layout():
        x = add_cell(builder, name, cell, x) if is_cell else add_reduction(builder, name, x)
    return builder.graph(add_head(builder, x, n_classes))


def _layout() -> Iterator[tuple[str, bool]]:
    """Names of cells and reductions in order, and which is a cell."""
    per_stage = CELLS_PER_STAGE + 1
    for index in range(per_stage * len(STAGE_CHANNELS) - 1):
        yield f"cells.{index}", index % per_stage != CELLS_PER_STAGE


def _convolution(
    builder: GraphBuilder, name: str, x: Tensor, out: int, kernel: int, stride: int = 1
) -> Tensor:
    """ReLU, convolution, BatchNorm: the order in which the benchmark's blocks have them."""
    x = builder.add(f"{name}.0", Activation(Function.RELU), x)
    x = builder.add(f"{name}.1", square_convolution(out, kernel, stride), x)
    return builder.add(f"{name}.2", BatchNorm(), x)
