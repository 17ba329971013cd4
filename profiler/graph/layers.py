"""Layer kinds: their attributes, the shapes they make, their weights and multiply-adds.

Shapes are torch's and ONNX's: images are [n, channels, height, width]; layers that slide a
window take any number of axes after the channels. Padding is (begin of every such axis, then
end of every such axis), as in ONNX. Axes count from the front. Weights are named and laid out
as in torch's state dicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod

from profiler.errors import InvalidInputError

Shape = tuple[int, ...]

STATISTICS = frozenset({"running_mean", "running_var"})  # weights that are not trained


@dataclass(frozen=True, slots=True)
class Layer:
    """One kind of layer with its attributes; what is usual for most kinds."""

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Shapes of the outputs; by default one, of the first input's shape.

        Raises:
            InvalidInputError: inputs that the layer cannot take.
        """
        return (inputs[0],)

    def weight_shapes(self, *inputs: Shape) -> dict[str, Shape]:
        """Names and shapes of the weights."""
        return {}

    def madds(self, output: Shape, *inputs: Shape) -> int:
        """Multiply-adds of convolutions and matrix products; other kinds count as 0."""
        return 0


# --- layers with weights ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Convolution(Layer):
    """Cross-correlation, weight [out, in / groups, *kernel]."""

    out_channels: int
    kernel: Shape
    strides: Shape
    padding: Shape
    dilations: Shape
    groups: int = 1
    bias: bool = False

    @property
    def is_pointwise(self) -> bool:
        """Whether every output pixel depends on one input pixel, of all channels."""
        return self.groups == 1 and max(self.kernel) == 1

    @property
    def is_depthwise(self) -> bool:
        """Whether every output channel depends on one input channel."""
        return self.groups == self.out_channels > 1

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        n, channels, *size = inputs[0]
        if len(size) != len(self.kernel) or channels % self.groups:
            raise InvalidInputError(
                f"a convolution of kernel {self.kernel} and {self.groups} groups of {inputs[0]}"
            )
        windows = _windows(size, self.kernel, self.strides, self.padding, self.dilations)
        return ((n, self.out_channels, *windows),)

    def weight_shapes(self, *inputs: Shape) -> dict[str, Shape]:
        shape = (self.out_channels, inputs[0][1] // self.groups, *self.kernel)
        return {"weight": shape} | _bias(self.bias, self.out_channels)

    def madds(self, output: Shape, *inputs: Shape) -> int:
        return prod(output) * inputs[0][1] // self.groups * prod(self.kernel)


def square_convolution(
    out_channels: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, bias: bool = False
) -> Convolution:
    """A 2-D convolution padded by kernel // 2 on every side."""
    return Convolution(
        out_channels, (kernel,) * 2, (stride,) * 2, (kernel // 2,) * 4, (1, 1), groups, bias
    )


@dataclass(frozen=True, slots=True)
class TransposedConvolution(Layer):
    """The gradient of a convolution, weight [in, out / groups, *kernel]."""

    out_channels: int
    kernel: Shape
    strides: Shape
    padding: Shape
    dilations: Shape
    output_padding: Shape
    groups: int = 1
    bias: bool = False

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        n, _, *size = inputs[0]
        rank = len(size)
        grown = (
            (size[i] - 1) * self.strides[i] - self.padding[i] - self.padding[rank + i]
            + self.dilations[i] * (self.kernel[i] - 1) + 1 + self.output_padding[i]
            for i in range(rank)
        )  # fmt: skip
        return ((n, self.out_channels, *grown),)

    def weight_shapes(self, *inputs: Shape) -> dict[str, Shape]:
        shape = (inputs[0][1], self.out_channels // self.groups, *self.kernel)
        return {"weight": shape} | _bias(self.bias, self.out_channels)

    def madds(self, output: Shape, *inputs: Shape) -> int:
        return prod(inputs[0]) * self.out_channels // self.groups * prod(self.kernel)


@dataclass(frozen=True, slots=True)
class Linear(Layer):
    """x · weightᵀ + bias over the last axis, weight [out, in]."""

    out_features: int
    bias: bool = True

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        return ((*inputs[0][:-1], self.out_features),)

    def weight_shapes(self, *inputs: Shape) -> dict[str, Shape]:
        return {"weight": (self.out_features, inputs[0][-1])} | _bias(self.bias, self.out_features)

    def madds(self, output: Shape, *inputs: Shape) -> int:
        return prod(output) * inputs[0][-1]


@dataclass(frozen=True, slots=True)
class BatchNorm(Layer):
    """Per channel (x - running_mean) / sqrt(running_var + eps) · weight + bias."""

    eps: float = 1e-5

    def weight_shapes(self, *inputs: Shape) -> dict[str, Shape]:
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (inputs[0][1],))


@dataclass(frozen=True, slots=True)
class LayerNorm(Layer):
    """Normalisation over the last `n_axes` axes, then weight and bias."""

    n_axes: int = 1
    eps: float = 1e-5

    def weight_shapes(self, *inputs: Shape) -> dict[str, Shape]:
        return dict.fromkeys(("weight", "bias"), inputs[0][-self.n_axes :])


@dataclass(frozen=True, slots=True)
class PRelu(Layer):
    """x where x > 0, else weight · x; one weight for all channels, or one each."""

    per_channel: bool = True

    def weight_shapes(self, *inputs: Shape) -> dict[str, Shape]:
        return {"weight": (inputs[0][1] if self.per_channel else 1,)}


@dataclass(frozen=True, slots=True)
class Constant(Layer):
    """A tensor that does not depend on the input: weights, or one number."""

    shape: Shape
    number: float | None = None

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.shape,)

    def weight_shapes(self, *inputs: Shape) -> dict[str, Shape]:
        return {"value": self.shape} if self.number is None else {}


# --- element by element ---------------------------------------------------------------------


class Function(StrEnum):
    """Functions of one number."""

    RELU = "relu"
    RELU6 = "relu6"
    HARD_SIGMOID = "hard_sigmoid"  # relu6(x + 3) / 6
    HARD_SWISH = "hard_swish"  # x · hard_sigmoid(x)
    SIGMOID = "sigmoid"
    SILU = "silu"  # x · sigmoid(x), also called swish
    GELU = "gelu"
    TANH = "tanh"
    ELU = "elu"
    SOFTPLUS = "softplus"
    ERF = "erf"
    EXP = "exp"
    LOG = "log"
    SQRT = "sqrt"
    ABS = "abs"
    NEGATIVE = "negative"


@dataclass(frozen=True, slots=True)
class Activation(Layer):
    """One function of every element."""

    function: Function


@dataclass(frozen=True, slots=True)
class LeakyRelu(Layer):
    """x where x > 0, else slope · x."""

    slope: float


@dataclass(frozen=True, slots=True)
class Clip(Layer):
    """Values limited to [low, high]."""

    low: float
    high: float


class Operation(StrEnum):
    """Functions of two numbers."""

    ADD = "add"
    SUBTRACT = "subtract"
    MULTIPLY = "multiply"
    DIVIDE = "divide"
    POWER = "power"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"


@dataclass(frozen=True, slots=True)
class Elementwise(Layer):
    """One operation on every pair of elements, shapes broadcast as numpy does."""

    operation: Operation

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        rank = max(map(len, inputs))
        a, b = ((1,) * (rank - len(shape)) + shape for shape in inputs)
        if any(left != right and 1 not in (left, right) for left, right in zip(a, b, strict=True)):
            raise InvalidInputError(f"{self.operation} of shapes {inputs[0]} and {inputs[1]}")
        return (tuple(r if left == 1 else left for left, r in zip(a, b, strict=True)),)


@dataclass(frozen=True, slots=True)
class Softmax(Layer):
    axis: int


@dataclass(frozen=True, slots=True)
class MatMul(Layer):
    """The product of two tensors' last two axes, the others broadcast."""

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        a, b = inputs
        if min(len(a), len(b)) < 2 or a[-1] != b[-2]:
            raise InvalidInputError(f"the product of matrices {a} and {b}")
        batch = Elementwise(Operation.MULTIPLY).output_shapes(a[:-2], b[:-2])[0]
        return ((*batch, a[-2], b[-1]),)

    def madds(self, output: Shape, *inputs: Shape) -> int:
        return prod(output) * inputs[0][-1]


# --- windows and whole axes ---------------------------------------------------------------


class Statistic(StrEnum):
    """What a pooling or a reduction keeps of several numbers."""

    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    SUM = "sum"


@dataclass(frozen=True, slots=True)
class Pool(Layer):
    """Mean or maximum of every window.

    With `rounds_up` a last window that is only partly inside is kept. A mean divides by the
    window's elements inside the image, or, with `counts_padding`, inside the padded image.
    """

    statistic: Statistic
    kernel: Shape
    strides: Shape
    padding: Shape
    dilations: Shape
    rounds_up: bool = False
    counts_padding: bool = False

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        n, channels, *size = inputs[0]
        padding = self.padding_used(size)
        windows = _windows(size, self.kernel, self.strides, padding, self.dilations)
        return ((n, channels, *windows),)

    def padding_used(self, size: Sequence[int]) -> Shape:
        """The padding that holds the last windows, too, of images of `size` pixels."""
        if not self.rounds_up:
            return self.padding
        rank, ends = len(size), []
        for axis, (pixels, stride) in enumerate(zip(size, self.strides, strict=True)):
            begin, end = self.padding[axis], self.padding[rank + axis]
            span = pixels + begin + end - self.dilations[axis] * (self.kernel[axis] - 1) - 1
            last = -(-span // stride) * stride
            if last >= pixels + begin:  # a window may not begin in the end's padding
                last -= stride
            ends.append(end + max(0, last - span))
        return (*self.padding[:rank], *ends)


@dataclass(frozen=True, slots=True)
class GlobalPool(Layer):
    """Mean or maximum over all axes after the channels, which are kept with size 1."""

    statistic: Statistic

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (inputs[0][:2] + (1,) * (len(inputs[0]) - 2),)


@dataclass(frozen=True, slots=True)
class Reduce(Layer):
    """A statistic over some axes."""

    statistic: Statistic
    axes: tuple[int, ...]
    keeps_axes: bool = True

    def output_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        kept = [(axis, size) for axis, size in enumerate(inputs[0])]
        if self.keeps_axes:
            return (tuple(1 if axis in self.axes else size for axis, size in kept),)
        return (tuple(size for axis, size in kept if axis not in self.axes),)


def _bias(present: bool, channels: int) -> dict[str, Shape]:
    return {"bias": (channels,)} if present else {}


def _windows(
    size: Sequence[int], kernel: Shape, strides: Shape, padding: Shape, dilations: Shape
) -> list[int]:
    """How many windows fit along every axis."""
    rank = len(size)
    counts = [
        (size[i] + padding[i] + padding[rank + i] - dilations[i] * (kernel[i] - 1) - 1)
        // strides[i] + 1
        for i in range(rank)
    ]  # fmt: skip
    if min(counts, default=1) < 1:
        raise InvalidInputError(f"a window of {kernel} in an image of {tuple(size)}")
    return counts
