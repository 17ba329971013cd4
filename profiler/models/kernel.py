"""One kernel that a runtime runs: a node of its graph after its own fusion, with shapes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

from profiler.errors import InvalidInputError
from profiler.numerals import whole_number
from profiler.printable import shown

Shape = tuple[int, ...]
Value = int | float | str | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a kernel is called by its runtime, what goes in and out, and how it is set.

    Attributes:
        kind: the runtime's name of the op, with its domain where that is not ONNX's own.
        inputs: shapes of what the network computes; of a scalar ().
        weights: shapes of the constants among its inputs.
        attributes: those that are not the op's defaults, sorted by name.
    """

    kind: str
    inputs: tuple[Shape, ...]
    weights: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    attributes: tuple[tuple[str, Value], ...] = ()

    @property
    def key(self) -> str:
        """All of it in one line; `parse_kernel` reads it back.

        >>> Kernel("Gemm", ((1, 8),), ((10, 8),), ((1, 10),), (("transB", 1),)).key
        'Gemm(1x8; 10x8; 1x10; transB=1)'
        """
        shapes = (", ".join(map(_written_shape, s)) for s in self._shapes)
        settings = ", ".join(f"{name}={_written(value)}" for name, value in self.attributes)
        return f"{self.kind}({'; '.join(shapes)}; {settings})"

    @property
    def _shapes(self) -> tuple[tuple[Shape, ...], ...]:
        return self.inputs, self.weights, self.outputs

    def attribute(self, name: str, default: Value) -> Value:
        return dict(self.attributes).get(name, default)

    @property
    def input_elements(self) -> int:
        return sum(map(prod, self.inputs))

    @property
    def weight_elements(self) -> int:
        return sum(map(prod, self.weights))

    @property
    def output_elements(self) -> int:
        return sum(map(prod, self.outputs))

    def __str__(self) -> str:
        return self.key


def parse_kernel(key: str) -> Kernel:
    """Read a kernel's key back.

    >>> parse_kernel("Relu(1x8x7x7; ; 1x8x7x7; )").outputs
    ((1, 8, 7, 7),)

    Raises:
        InvalidInputError: not of that form.
    """
    match = re.fullmatch(r"([\w.:]+)\(([^;]*); ([^;]*); ([^;]*); ([^;]*)\)", key)
    try:
        if match is None:
            raise ValueError
        inputs, weights, outputs = (_parsed_shapes(text) for text in match.groups()[1:4])
        pairs = (text.partition("=") for text in match[5].split(", ") if text)
        attributes = tuple((name, _parsed(value)) for name, _, value in pairs)
    except ValueError:
        raise InvalidInputError(f"not a kernel: {shown(key)}") from None
    return Kernel(match[1], inputs, weights, outputs, attributes)


def _written_shape(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _parsed_shapes(text: str) -> tuple[Shape, ...]:
    return tuple(
        () if shape == "scalar" else tuple(map(_size, shape.split("x")))
        for shape in text.split(", ")
        if shape
    )


def _size(text: str) -> int:
    size = whole_number(text)
    if size is None:
        raise ValueError
    return size


def _written(value: Value) -> str:
    return f"[{' '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _parsed(text: str) -> Value:
    if text.startswith("["):
        numbers = tuple(map(_number, text[1:-1].split()))
        return tuple(n for n in numbers if not isinstance(n, str))
    return _number(text)


def _number(text: str) -> int | float | str:
    for of_type in (int, float):
        try:
            return of_type(text)
        except ValueError:
            pass
    return text
