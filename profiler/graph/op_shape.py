"""The sizes of an op, found in its layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from math import prod

from profiler.graph.graph import Graph, Node, Tensor
from profiler.graph.layers import (
    Activation,
    Convolution,
    Elementwise,
    Function,
    GlobalPool,
    Operation,
    Pool,
    Reduce,
)
from profiler.graph.op import Op


@cache
def shape_of(op: Op) -> OpShape:
    return OpShape(op.graph)


@dataclass(frozen=True)
class OpShape:
    """Sizes of a graph of one input and one output, in channels and pixels.

    Layers on an image that was pooled to one pixel are a gate (squeeze-and-excitation), and no
    part of what the sizes tell.
    """

    graph: Graph

    @property
    def batch_size(self) -> int:
        return self.graph.inputs[0].shape[0]

    @property
    def in_channels(self) -> int:
        return self.graph.inputs[0].shape[1]

    @property
    def out_channels(self) -> int:
        return self.graph.outputs[0].shape[1]

    @property
    def in_px(self) -> tuple[int, ...]:
        return image_px(self.graph.inputs[0])

    @property
    def out_px(self) -> tuple[int, ...]:
        return image_px(self.graph.outputs[0])

    @cached_property
    def convolutions(self) -> tuple[Node, ...]:
        """Those over the image, in order of execution."""
        return tuple(
            node
            for node in self.graph.nodes
            if isinstance(node.layer, Convolution) and not self.in_gate(node)
        )

    @cached_property
    def inner(self) -> tuple[Node, ...]:
        """Those of the convolutions that lead to another one: what they make stays inside."""
        inner: list[Node] = []
        used: set[str] = set()  # names of tensors that a convolution depends on
        for node in reversed(self.graph.nodes):
            leads = node.output.name in used
            if leads and node in self.convolutions:
                inner.append(node)
            if leads or isinstance(node.layer, Convolution):
                used.update(tensor.name for tensor in node.inputs)
        return tuple(reversed(inner))

    @cached_property
    def mid_channels(self) -> int:
        """The most channels that stay inside; 0 where none do."""
        return max((node.output.shape[1] for node in self.inner), default=0)

    @cached_property
    def kernel(self) -> int:
        """The longest side of a window."""
        return max((max(layer.kernel) for layer in self._windows), default=1)

    @cached_property
    def stride(self) -> int:
        return max((max(layer.strides) for layer in self._windows), default=1)

    @cached_property
    def _windows(self) -> list[Convolution | Pool]:
        layers = [node.layer for node in self.graph.nodes]
        return [layer for layer in layers if isinstance(layer, Convolution | Pool)]

    @cached_property
    def has_gate(self) -> bool:
        return any(isinstance(n.layer, Convolution) and self.in_gate(n) for n in self.graph.nodes)

    @cached_property
    def activation(self) -> Function | None:
        """The first of the image."""
        return next(
            (
                node.layer.function
                for node in self.graph.nodes
                if isinstance(node.layer, Activation) and not self.in_gate(node)
            ),
            None,
        )

    @property
    def has_shortcut(self) -> bool:
        """Whether its input is added to what its last layer makes."""
        last = self.graph.producers[self.graph.outputs[0].name]
        return last.layer == Elementwise(Operation.ADD) and self.graph.inputs[0] in last.inputs

    @property
    def is_block(self) -> bool:
        """Whether it is several convolutions: what the choices of a space are mostly about."""
        return len(self.convolutions) > 1

    def in_gate(self, node: Node) -> bool:
        """Whether a node works on what was pooled to one pixel within the op."""
        return node.output.name in self._pooled

    @cached_property
    def _pooled(self) -> frozenset[str]:
        """Names of tensors that follow from pooled ones alone."""
        image, pooled = self.graph.inputs[0], set()
        for node in self.graph.nodes:
            pools = isinstance(node.layer, GlobalPool | Reduce) and node.inputs[0] != image
            follows = node.inputs and all(tensor.name in pooled for tensor in node.inputs)
            if pools or follows:
                pooled.add(node.output.name)
        return frozenset(pooled)


def image_px(tensor: Tensor) -> tuple[int, ...]:
    """Height and width; of what is no image, one pixel each."""
    return tensor.shape[2:] if len(tensor.shape) == 4 else (1, 1)


def n_pixels(tensor: Tensor) -> int:
    return prod(image_px(tensor))
