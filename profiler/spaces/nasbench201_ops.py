"""What costs of NAS-Bench-201's networks are sums of: steps of their cells, stage by stage.

A runtime computes equal values once, and adds another value or applies a ReLU to what a convolution
makes while it stores that. So it is all edges together that say which steps a cell takes. Of each
step there is one op a stage, which takes it once for each of the five cells: a single one would be
lost in the cost of a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from profiler.graph.graph import GraphBuilder, Tensor
from profiler.graph.layers import Activation, Elementwise, Function, Operation
from profiler.graph.op import Block, Op
from profiler.spaces.nasbench201_network import (
    AVG_POOL,
    CELLS_PER_STAGE,
    EDGES,
    KERNELS,
    OUTPUT,
    SKIP,
    STAGE_CHANNELS,
    Cell,
    add_head,
    add_operation,
    add_reduction,
    add_stem,
    add_zeros,
    plan,
)

SUM, ZEROS, RELU = "sum", "zeros", "relu"
SUMMED, OF_ZEROS = "+sum", "~zeros"  # of a convolution: added to another value; of zeros, and added


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of a cell by how it is made; `edge` is that of its weights."""

    made_by: str
    of: tuple[Value, ...] = ()
    edge: int | None = None

    @property
    def is_convolved(self) -> bool:
        return self.made_by in KERNELS


INPUT, NOTHING = Value("input"), Value(ZEROS)
ADD = Elementwise(Operation.ADD)


@dataclass(frozen=True)
class Flow:
    """The distinct values of a cell in order of execution, and its output."""

    values: tuple[Value, ...]
    output: Value

    @cached_property
    def readers(self) -> Mapping[Value, Sequence[Value]]:
        readers: dict[Value, list[Value]] = {value: [] for value in (INPUT, *self.values)}
        for value in self.values:
            for part in value.of:
                readers[part].append(value)
        return readers

    @cached_property
    def added(self) -> dict[Value, Value]:
        """By sum, the convolution that adds what else there is: one that nothing reads besides."""
        added = {}
        for value in self.values:
            parts = [p for p in value.of if p.is_convolved and len(self.readers[p]) == 1]
            if value.made_by == SUM and parts:
                added[value] = parts[0]
        return added

    @cached_property
    def multiplies(self) -> bool:
        """Whether zeros are a product of their own, and 0 no factor of a convolution before."""
        only_reader = not self.readers[INPUT] and self.output.is_convolved
        return NOTHING in self.values and not only_reader

    def kernels(self) -> Iterator[str]:
        """Of all but ReLUs."""
        of_zeros = self.readers[NOTHING][:1] if self.multiplies else ()
        for value in self.values:
            if value in of_zeros:
                yield value.made_by + OF_ZEROS
            elif value.is_convolved:
                yield value.made_by + SUMMED * (value in self.added.values())
            elif value.made_by == AVG_POOL or (value.made_by == SUM and value not in self.added):
                yield value.made_by
        if self.output == NOTHING:
            yield ZEROS

    def relus(self) -> Iterator[str]:
        """Those that no convolution applies as it stores its output: something else reads that."""
        for source in {part for value in self.values if value.is_convolved for part in value.of}:
            producer = self.output if source == INPUT else source  # of the cell before
            stored = producer.is_convolved or producer in self.added
            others = not all(reader.is_convolved for reader in self.readers[source])
            others |= source == INPUT and self.multiplies
            if source != NOTHING and (others or not stored):
                yield RELU


def flow_of(cell: Cell) -> Flow:
    planned = plan(cell)
    nodes = {0: INPUT} | dict.fromkeys(planned.zeros, NOTHING)
    made = dict.fromkeys(nodes.values())
    for index in planned.edges:
        source, target = EDGES[index]
        value = nodes[source]
        if cell[index] != SKIP:
            edge = index if cell[index] in KERNELS else None
            value = Value(cell[index], (value,), edge)
            made[value] = None
        if target in nodes:
            value = Value(SUM, (nodes[target], value))
            made[value] = None
        nodes[target] = value
    return Flow(tuple(made), nodes[OUTPUT])


def steps(cell: Cell) -> tuple[str, ...]:
    """Names of what is computed, of `STEPS`, sorted: cells of equal steps cost the same."""
    flow = flow_of(cell)
    return tuple(sorted((*flow.kernels(), *flow.relus())))


STEPS = (
    AVG_POOL,
    SUM,
    ZEROS,
    RELU,
    *(name + how for name in KERNELS for how in ("", SUMMED, OF_ZEROS)),
)


def stem_op(resolution_px: int, batch_size: int) -> Op:
    builder = GraphBuilder()
    x = builder.input("input", (batch_size, 3, resolution_px, resolution_px))
    return Block.of("stem", builder.graph(add_stem(builder, x)))


def reduction_op(stage: int, resolution_px: int, batch_size: int) -> Op:
    """What follows `stage`, 0 or 1."""
    builder = GraphBuilder()
    x = builder.input("input", _stage_shape(stage, resolution_px, batch_size))
    return Block.of("reduction", builder.graph(add_reduction(builder, "block", x)))


def head_op(resolution_px: int, n_classes: int, batch_size: int) -> Op:
    builder = GraphBuilder()
    x = builder.input("input", _stage_shape(len(STAGE_CHANNELS) - 1, resolution_px, batch_size))
    return Block.of("head", builder.graph(add_head(builder, x, n_classes)))


@cache
def step_op(step: str, stage: int, resolution_px: int, batch_size: int) -> Op:
    """One of `STEPS`, once for each cell of a stage, in a row."""
    builder = GraphBuilder()
    x = builder.input("input", _stage_shape(stage, resolution_px, batch_size))
    if step.endswith((SUMMED, OF_ZEROS)):
        # what is added is to be in the layout of a runtime's own, as it is within a network
        x = add_operation(builder, "before", AVG_POOL, x)
    first = x
    for cell in range(CELLS_PER_STAGE):
        x = _add_step(builder, f"cells.{cell}", step, x, first)
    return Block.of(step, builder.graph(x))


def _add_step(builder: GraphBuilder, name: str, step: str, x: Tensor, first: Tensor) -> Tensor:
    """Sums add the `first` x, but that of a convolution of zeros adds x: only what is read besides
    is multiplied by 0 for itself."""
    if step == SUM:
        return builder.add(f"{name}.sum", ADD, x, first)
    if step == ZEROS:
        return add_zeros(builder, name, x)
    if step == RELU:
        return builder.add(f"{name}.relu", Activation(Function.RELU), x)
    operation, _, of_zeros = step.removesuffix(SUMMED).partition(OF_ZEROS[0])
    y = add_operation(builder, name, operation, add_zeros(builder, name, x) if of_zeros else x)
    if step in KERNELS or step == AVG_POOL:
        return y
    return builder.add(f"{name}.sum", ADD, y, x if of_zeros else first)


def _stage_shape(stage: int, resolution_px: int, batch_size: int) -> tuple[int, int, int, int]:
    side = resolution_px >> stage
    return batch_size, STAGE_CHANNELS[stage], side, side
