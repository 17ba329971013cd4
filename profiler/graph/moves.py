"""Layer kinds that only say where elements lie: they have no weights and no multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod

from profiler.errors import InvalidInputError
from profiler.graph.layers import Layer, Shape


@dataclass(frozen=True, slots=True)
class Concat(Layer):
    axis: int

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        first = inputs[0]
        others = {shape[: self.axis] + shape[self.axis + 1 :] for shape in inputs}
        if len(others) != 1:
            raise InvalidInputError(f"shapes {inputs} side by side along axis {self.axis}")
        total = sum(shape[self.axis] for shape in inputs)
        return ((*first[: self.axis], total, *first[self.axis + 1 :]),)


@dataclass(frozen=True, slots=True)
class Split(Layer):
    axis: int
    sizes: tuple[int, ...]

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        shape = inputs[0]
        if sum(self.sizes) != shape[self.axis]:
            raise InvalidInputError(f"{shape} split into {self.sizes} along axis {self.axis}")
        return tuple((*shape[: self.axis], s, *shape[self.axis + 1 :]) for s in self.sizes)


@dataclass(frozen=True, slots=True)
class Slice(Layer):
    """Along every axis the elements from `starts` up to before `ends`, `steps` apart."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    steps: tuple[int, ...]

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        sizes = zip(self.starts, self.ends, self.steps, strict=True)
        return (tuple(max(0, -(-(end - start) // step)) for start, end, step in sizes),)


@dataclass(frozen=True, slots=True)
class Gather(Layer):
    """The elements at `indices` of an axis, in that order."""

    axis: int
    indices: tuple[int, ...]

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        shape = inputs[0]
        if not all(0 <= index < shape[self.axis] for index in self.indices):
            raise InvalidInputError(f"indices outside axis {self.axis} of {shape}")
        return ((*shape[: self.axis], len(self.indices), *shape[self.axis + 1 :]),)


class PadMode(StrEnum):
    CONSTANT = "constant"
    REFLECT = "reflect"
    EDGE = "edge"


@dataclass(frozen=True, slots=True)
class Pad(Layer):
    """A border of (begin of every axis, then end of every axis) elements."""

    padding: Shape
    mode: PadMode = PadMode.CONSTANT
    value: float = 0.0

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        begins, ends = self.padding[: len(inputs[0])], self.padding[len(inputs[0]) :]
        return (tuple(b + size + e for b, size, e in zip(begins, inputs[0], ends, strict=True)),)


class Interpolation(StrEnum):
    """How a resized image is sampled: the shape of its filter, and where its corners lie."""

    NEAREST = "nearest"  # x_in = floor(x_out / scale)
    LINEAR = "linear"  # pixels are areas: x_in = (x_out + 0.5) / scale - 0.5
    LINEAR_CORNERS = "linear_corners"  # the outermost pixels' centres stay


@dataclass(frozen=True, slots=True)
class Resize(Layer):
    """An image at another size in pixels."""

    size: Shape
    interpolation: Interpolation

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (inputs[0][:2] + self.size,)


@dataclass(frozen=True, slots=True)
class Reshape(Layer):
    """The same elements in another shape: flatten, squeeze and unsqueeze, too."""

    shape: Shape

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        if prod(inputs[0]) != prod(self.shape):
            raise InvalidInputError(f"{inputs[0]} in shape {self.shape}")
        return (self.shape,)


@dataclass(frozen=True, slots=True)
class Transpose(Layer):
    permutation: tuple[int, ...]

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (tuple(inputs[0][axis] for axis in self.permutation),)
