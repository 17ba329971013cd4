"""What is known of an ONNX file's tensors: constants, and tensors of the graph being built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from profiler.graph.graph import Graph, GraphBuilder, Origin, Tensor, Weights
from profiler.graph.layers import Constant, Layer, Shape

if TYPE_CHECKING:
    from onnx import NodeProto

Array = NDArray[Any]


class OnnxTensors:
    """Tensors of a file by their names in it."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.constants: dict[str, Array] = {}
        self.weights: Weights = {}
        self.made: dict[str, Tensor] = {}  # that depend on an input, or are read as if they did
        self._builder = GraphBuilder()

    def add_input(self, name: str, shape: Shape, dtype: str) -> None:
        self.made[name] = self._builder.input(name, shape, dtype)

    def is_known(self, name: str) -> bool:
        return name in self.constants or name in self.made

    def tensor(self, name: str) -> Tensor:
        """A tensor of the graph; a constant that is read as one becomes a node."""
        if name not in self.made:
            values = self.constants[name]
            number = float(values.reshape(())) if values.size == 1 else None
            (self.made[name],) = self._builder.add_all(
                path_of(name), Constant(values.shape, number), dtype=values.dtype.name
            )
            if number is None:
                self.set_weights(name, {"value": values})
        return self.made[name]

    def add(self, node: NodeProto, name: str, layer: Layer, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs of a layer that is the file's `node`, or a part of it."""
        return self._builder.add_all(path_of(name), layer, *inputs, read_from=origin_of(node))

    def set_weights(self, name: str, weights: Mapping[str, Array]) -> None:
        """Weights of the layer that was added as `name`."""
        for key, values in weights.items():
            self.weights[f"{path_of(name)}.{key}"] = np.ascontiguousarray(values, np.float32)

    def graph(self, outputs: Sequence[str]) -> Graph:
        return self._builder.graph(*map(self.tensor, outputs))


def path_of(name: str) -> str:
    """A tensor's name as the path of a submodule, which has no empty parts."""
    return ".".join(part or "_" for part in name.split("."))


def origin_of(node: NodeProto) -> Origin:
    op_type = node.op_type if is_standard(node) else f"{node.domain}.{node.op_type}"
    return Origin(op_type, node.name or node.output[0])


def is_standard(node: NodeProto) -> bool:
    """Whether it is an operator of ONNX itself."""
    return node.domain in ("", "ai.onnx")


def attributes_of(node: NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
