"""Operators of a TFLite graph added one by one, and where a graph's tensors lie in it.

Tensors of four axes are stored with the channels last, as TFLite's images are; others as they
are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.graph import layers, tflite_graph
from profiler.graph.graph import Graph, Node, Weights
from profiler.graph.layers import Function, Shape
from profiler.graph.litert import load_schema
from profiler.graph.tflite_graph import TFLiteOperator

CHANNELS_LAST = (0, 2, 3, 1)
CHANNELS_FIRST = (0, 3, 1, 2)
FUSING = frozenset({"ADD", "SUB", "MUL", "DIV"})  # elementwise operators with an activation


class TFLiteBuilder:
    """Operators so far, and where the graph's tensors are among TFLite's."""

    def __init__(self, graph: Graph, weights: Weights, native_hard_swish: bool) -> None:
        self.source = graph
        self.weights = weights
        self.native_hard_swish = native_hard_swish
        self.schema = load_schema()
        self.graph = tflite_graph.TFLiteGraph()
        self.indices: dict[str, int] = {}
        for tensor in graph.inputs:
            shape = stored_shape(tensor.shape)
            self.indices[tensor.name] = self.graph.add_tensor(
                tflite_graph.TFLiteTensor(tensor.name, shape)
            )
        self.graph.inputs = tuple(self.indices.values())

    def finished(self) -> tflite_graph.TFLiteGraph:
        self.graph.outputs = tuple(self.indices[t.name] for t in self.source.outputs)
        several = len(self.graph.outputs) > 1
        for position, index in enumerate(self.graph.outputs):
            name = f"output{position}" if several else "output"
            self.graph.tensors[index] = replace(self.graph.tensors[index], name=name)
        return self.graph

    def x(self, node: Node, position: int = 0) -> int:
        return self.indices[node.inputs[position].name]

    def shape(self, index: int) -> Shape:
        return self.graph.tensors[index].shape

    def constant(self, name: str, values: NDArray[Any]) -> int:
        return self.graph.add_constant(name, np.asarray(values, order="C"))

    def integers(self, name: str, values: Any) -> int:
        return self.constant(name, np.array(values, np.int32))

    def scalar(self, name: str, value: float) -> int:
        return self.constant(name, np.array(value, np.float32))

    def apply(
        self, code: str, inputs: Sequence[int], shape: Shape, name: str, options: str,
        **fields: Any,
    ) -> int:  # fmt: skip
        output = self.graph.add_tensor(tflite_graph.TFLiteTensor(name, shape))
        self.graph.operators.append(TFLiteOperator(code, tuple(inputs), (output,), options, fields))
        return output

    def binary(self, code: str, a: int, b: int, name: str, activation: int = 0) -> int:
        shape = tuple(np.broadcast_shapes(self.shape(a), self.shape(b)))
        options = {"MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions"}.get(
            code, f"{code.title()}Options"
        )
        fused = {"fusedActivationFunction": activation} if code in FUSING else {}
        return self.apply(code, [a, b], shape, name, options, **fused)

    def hard_sigmoid(self, x: int, name: str) -> int:
        """relu6(x + 3) / 6."""
        three, sixth = self.scalar(f"{name}.three", 3), self.scalar(f"{name}.sixth", 1 / 6)
        relu6 = self.schema.ActivationFunctionType.RELU6
        return self.binary("MUL", self.binary("ADD", x, three, f"{name}.relu6", relu6), sixth, name)

    def reshape(self, x: int, shape: Shape, name: str) -> int:
        if self.shape(x) == shape:
            return x
        inputs = [x, self.integers(f"{name}.shape", shape)]
        return self.apply("RESHAPE", inputs, shape, name, "ReshapeOptions", newShape=list(shape))

    def transpose(self, x: int, permutation: Shape, name: str) -> int:
        shape = tuple(self.shape(x)[axis] for axis in permutation)
        moved = [axis for axis in permutation if self.shape(x)[axis] != 1]
        if moved == sorted(moved):  # the elements stay where they are
            return self.reshape(x, shape, name)
        inputs = [x, self.integers(f"{name}.permutation", permutation)]
        return self.apply("TRANSPOSE", inputs, shape, name, "TransposeOptions")

    def plain(self, node: Node, position: int = 0) -> int:
        """An input with its axes in the graph's order."""
        x = self.x(node, position)
        name = f"{node.name}.first{position or ''}"
        return self.transpose(x, CHANNELS_FIRST, name) if len(self.shape(x)) == 4 else x

    def stored(self, x: int, name: str) -> int:
        """The inverse of `plain`."""
        return self.transpose(x, CHANNELS_LAST, name) if len(self.shape(x)) == 4 else x

    def pad(self, x: int, padding: Shape, name: str, fill: float = 0.0) -> int:
        """`x` [n, h, w, c] with a border of (top, left, bottom, right) pixels."""
        top, left, bottom, right = padding
        borders = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        n, h, w, channels = self.shape(x)
        inputs = [x, self.constant(f"{name}.borders", borders)]
        shape = (n, h + top + bottom, w + left + right, channels)
        if fill:
            inputs.append(self.scalar(f"{name}.fill", fill))
            return self.apply("PADV2", inputs, shape, name, "PadV2Options")
        return self.apply("PAD", inputs, shape, name, "PadOptions")

    def slice(self, x: int, begin: Sequence[int], shape: Shape, name: str) -> int:
        if self.shape(x) == shape:
            return x
        inputs = [x, self.integers(f"{name}.begin", begin), self.integers(f"{name}.size", shape)]
        return self.apply("SLICE", inputs, shape, name, "SliceOptions")

    def fuse(self, node: Node) -> tuple[int, Node]:
        """The activation that runs with `node`, and the node whose output both make."""
        functions = self.schema.ActivationFunctionType
        reader = self.source.only_reader(node.output)
        match reader.layer if reader is not None else None:
            case layers.Activation(Function.RELU):
                code = functions.RELU
            case layers.Activation(Function.RELU6) | layers.Clip(0, 6):
                code = functions.RELU6
            case _:
                return functions.NONE, node
        return code, reader or node

    def make(self, node: Node, index: int) -> None:
        """`index` is the node's output."""
        self.indices[node.output.name] = index


def refusal(node: Node, what: str = "") -> InvalidInputError:
    """TFLite has no such layer."""
    kind = type(node.layer).__name__
    return InvalidInputError(f"{node.name}: TFLite has no {kind}{f' of {what}' if what else ''}")


def stored_shape(shape: Shape) -> Shape:
    return tuple(shape[axis] for axis in CHANNELS_LAST) if len(shape) == 4 else shape


def stored_axis(axis: int, shape: Shape) -> int:
    axis %= len(shape)
    return CHANNELS_LAST.index(axis) if len(shape) == 4 else axis


def in_stored_order(values: Sequence[int]) -> list[int]:
    """Numbers that belong to axes."""
    return list(stored_shape(tuple(values)))
