"""One node of an ONNX file being read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from profiler.errors import InvalidInputError
from profiler.graph.graph import Tensor
from profiler.graph.layers import Layer, Shape
from profiler.graph.onnx_tensors import Array, OnnxTensors, attributes_of, origin_of

if TYPE_CHECKING:
    from onnx import NodeProto


class Operator:
    """A node of the file being read: its inputs, and what becomes of its outputs."""

    def __init__(self, tensors: OnnxTensors, node: NodeProto) -> None:
        self._tensors, self._node = tensors, node
        self.opset = tensors.opset
        self.attributes = attributes_of(node)
        self.op_type: str = node.op_type
        self.n_inputs, self.n_outputs = len(node.input), len(node.output)

    def get(self, attribute: str, default: Any) -> Any:
        return self.attributes.get(attribute, default)

    def has(self, index: int) -> bool:
        return index < self.n_inputs and bool(self._node.input[index])

    def is_constant(self, index: int) -> bool:
        return self.has(index) and self._node.input[index] in self._tensors.constants

    def x(self, index: int = 0) -> Tensor:
        return self._tensors.tensor(self._node.input[index])

    def shape(self, index: int = 0) -> Shape:
        return self.x(index).shape

    def constant(self, index: int) -> Array:
        """An input that decides what the layer is."""
        if not self.is_constant(index):
            raise self.refusal(f"its input {index} is not a constant")
        return self._tensors.constants[self._node.input[index]]

    def setting(self, attribute: str, index: int, default: Any = None) -> Any:
        """A value that is an attribute in older opsets and an input in newer ones."""
        if attribute in self.attributes:
            return self.attributes[attribute]
        return self.constant(index).tolist() if self.has(index) else default

    def refusal(self, reason: str) -> InvalidInputError:
        return InvalidInputError(f"{origin_of(self._node)}: {reason}")

    def axis(self, default: int) -> int:
        """The attribute of this name, counted from the front."""
        axis: int = self.get("axis", default)
        return axis % len(self.shape())

    def require(self, is_met: bool, reason: str) -> None:
        if not is_met:
            raise self.refusal(reason)

    def inner(self, suffix: str, layer: Layer, *inputs: Tensor) -> Tensor:
        """A layer of several that together are the node."""
        return self._tensors.add(self._node, f"{self._node.output[0]}.{suffix}", layer, *inputs)[0]

    def make(self, layer: Layer, *inputs: Tensor, **weights: Array) -> None:
        """The layer that makes the node's outputs; by default of its first input."""
        for key, values in weights.items():
            fits = values.dtype.name == self.x().dtype
            self.require(fits, f"a {key} of {values.dtype.name} for a tensor of {self.x().dtype}")
        name = self._node.output[0]
        outputs = self._tensors.add(self._node, name, layer, *(inputs or (self.x(),)))
        for output, tensor in zip(self._node.output, outputs, strict=False):
            self._tensors.made[output] = tensor
        self._tensors.set_weights(name, weights)

    def alias(self) -> None:
        """The output is the first input."""
        self._tensors.made[self._node.output[0]] = self.x()


class Readers(dict[str, Callable[[Operator], None]]):
    """Functions that read operators, by op type."""

    def reads(
        self, *op_types: str
    ) -> Callable[[Callable[[Operator], None]], Callable[[Operator], None]]:
        """Registers a function for these."""

        def register(function: Callable[[Operator], None]) -> Callable[[Operator], None]:
            self.update(dict.fromkeys(op_types, function))
            return function

        return register
