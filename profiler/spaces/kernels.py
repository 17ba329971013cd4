"""Single kernels over the shapes that CNNs use: what a table is measured of from which any model
file is predicted.

Not a space to search. A layer, or the few that a runtime fuses, stands alone in a graph; what the
runtime makes of it (reorders at its edges, a fused activation) is asked when it is measured. Draws
are seeded and stratified: by kind of layer, and within a kind over channels and image sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from profiler.errors import InvalidInputError
from profiler.graph import layers, moves
from profiler.graph.graph import Graph, GraphBuilder, Tensor
from profiler.graph.layers import Activation, Function, Layer, Operation, Statistic

MAX_MADDS = 800e6  # per image: longer kernels are rare, and add no other shape
MAX_ELEMENTS = 3.3e6  # of any tensor
MAX_WEIGHTS = 16e6

KERNELS_PER_MINUTE = 24
DOUBTED_SHARE = 1 / 3  # of the kernels: measured where a regression is unsure
CHAINS_PER_MINUTE = 11
NETWORKS_PER_MINUTE = 7


@dataclass(frozen=True, slots=True)
class KernelSpace:
    """How much to measure. Kernels have shapes of their own: no width, and about this resolution.

    Raises:
        InvalidInputError: too little time, or more than a day.
    """

    minutes: float = 10.0

    name: ClassVar[str] = "kernels"
    facts: ClassVar[Mapping[str, Any]] = {"space": name, "width_mult": 1.0, "resolution_px": 224}

    def __post_init__(self) -> None:
        if not 0.1 <= self.minutes <= 24 * 60:
            raise InvalidInputError(f"--minutes must be from 0.1 to 1440, got {self.minutes:g}")

    @property
    def n_kernels(self) -> int:
        return max(1, round(KERNELS_PER_MINUTE * self.minutes))

    @property
    def n_doubted(self) -> int:
        """Of the kernels, those that wait for what a regression says of the others."""
        return round(DOUBTED_SHARE * self.n_kernels)

    @property
    def n_chains(self) -> int:
        return max(1, round(CHAINS_PER_MINUTE * self.minutes))

    @property
    def n_networks(self) -> int:
        return max(1, round(NETWORKS_PER_MINUTE * self.minutes))

    def kernels(self, seed: int, batch_size: int) -> Iterator[tuple[str, Graph]]:
        return single_kernels(seed, batch_size)


Draw = Callable[["Net", np.random.Generator], Tensor]

# where the sides of images lie after 0 to 5 halvings of 128 to 256 pixels
SIDES_PX = (4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128)
ACTIVATIONS = (None, Function.RELU, Function.RELU, Function.RELU6)
GATES = (Function.HARD_SWISH, Function.SILU, Function.SIGMOID, Function.HARD_SIGMOID)


class Net:
    """Builds a graph of convolutions, layers named as they come."""

    def __init__(self, batch_size: int = 1) -> None:
        self._builder = GraphBuilder()
        self._n = 0
        self._batch_size = batch_size

    def input(self, channels: int, height_px: int, width_px: int | None = None) -> Tensor:
        shape = (self._batch_size, channels, height_px, width_px or height_px)
        self._n += 1
        return self._builder.input("input" if self._n == 1 else f"input{self._n}", shape)

    def add(self, layer: Layer, *inputs: Tensor) -> Tensor:
        return self.add_all(layer, *inputs)[0]

    def add_all(self, layer: Layer, *inputs: Tensor) -> tuple[Tensor, ...]:
        self._n += 1
        return self._builder.add_all(f"{type(layer).__name__.lower()}{self._n}", layer, *inputs)

    def convolution(
        self, x: Tensor, out: int, kernel: int | tuple[int, int] = 1, stride: int = 1, *,
        groups: int = 1, activation: Function | None = None,
    ) -> Tensor:  # fmt: skip
        """With a bias, as where BatchNorm was folded into it."""
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) * 2
        layer = layers.Convolution(
            out, (height, width), (stride,) * 2, padding, (1, 1), groups, bias=True
        )
        return self.activated(self.add(layer, x), activation)

    def activated(self, x: Tensor, activation: Function | None) -> Tensor:
        return self.add(Activation(activation), x) if activation else x

    def sum(self, a: Tensor, b: Tensor) -> Tensor:
        return self.add(layers.Elementwise(Operation.ADD), a, b)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return self.add(layers.Elementwise(Operation.MULTIPLY), a, b)

    def pool(self, x: Tensor, statistic: Statistic, kernel: int, stride: int) -> Tensor:
        padding = ((kernel - 1) // 2,) * 4 if kernel % 2 else (0,) * 4
        return self.add(layers.Pool(statistic, (kernel,) * 2, (stride,) * 2, padding, (1, 1)), x)

    def linear(self, x: Tensor, out: int) -> Tensor:
        """Of an image of one pixel, too."""
        flat = self.add(moves.Reshape((x.shape[0], prod(x.shape[1:]))), x)
        return self.add(layers.Linear(out), flat)

    def squeeze_excited(self, x: Tensor, inner: int, gate: Function) -> Tensor:
        mean = self.add(layers.GlobalPool(Statistic.MEAN), x)
        reduced = self.convolution(mean, inner, activation=Function.RELU)
        return self.product(x, self.convolution(reduced, x.shape[1], activation=gate))

    def shuffled(self, x: Tensor, groups: int) -> Tensor:
        """Channels of the groups in turns."""
        n, channels, height, width = x.shape
        split = (n, groups, channels // groups, height, width)
        apart = self.add(moves.Reshape(split), x)
        turned = self.add(moves.Transpose((0, 2, 1, 3, 4)), apart)
        return self.add(moves.Reshape(x.shape), turned)

    def hard_swish_written_out(self, x: Tensor) -> Tensor:
        """x · clip(x + 3, 0, 6) / 6, as some exporters write it."""
        three, six = (self.add(layers.Constant((), number)) for number in (3.0, 6.0))
        gate = self.add(layers.Clip(0.0, 6.0), self.sum(x, three))
        return self.add(layers.Elementwise(Operation.DIVIDE), self.product(x, gate), six)

    def graph(self, *outputs: Tensor) -> Graph:
        return self._builder.graph(*outputs)


# --- draws of one kernel each -----------------------------------------------------------------


def _side(rng: np.random.Generator, at_most: int = 128) -> int:
    return int(rng.choice([side for side in SIDES_PX if side <= at_most]))


def _channels(rng: np.random.Generator, low: int = 8, high: int = 1024) -> int:
    """Log-uniform; most are multiples of 8, and half of 16, as in networks."""
    step = int(rng.choice([16, 16, 16, 8, 8, 2]))
    value = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return max(step, round(value / step) * step)


def _activation(rng: np.random.Generator) -> Function | None:
    return ACTIVATIONS[rng.integers(len(ACTIVATIONS))]


def _pointwise(net: Net, rng: np.random.Generator) -> Tensor:
    x = net.input(_channels(rng, high=2048), _side(rng))
    return net.convolution(x, _channels(rng, high=2048), activation=_activation(rng))


def _summed(net: Net, rng: np.random.Generator) -> Tensor:
    """A convolution that a shortcut is added to, and an activation behind."""
    channels, side = _channels(rng), _side(rng, 64)
    kernel = int(rng.choice([1, 1, 3]))
    x = net.convolution(net.input(channels, side), channels, activation=Function.RELU)
    y = net.convolution(x, channels, kernel)
    return net.activated(net.sum(y, x), _activation(rng))


def _dense(net: Net, rng: np.random.Generator) -> Tensor:
    kernel, stride = int(rng.choice([3, 3, 3, 5, 7])), int(rng.choice([1, 1, 2]))
    x = net.input(_channels(rng, high=512), _side(rng))
    return net.convolution(x, _channels(rng, high=512), kernel, stride, activation=_activation(rng))


def _strided_pointwise(net: Net, rng: np.random.Generator) -> Tensor:
    x = net.input(_channels(rng), 2 * _side(rng, 56))
    return net.convolution(x, _channels(rng), 1, 2)


def _flat(net: Net, rng: np.random.Generator) -> Tensor:
    """Kernels of one row or one column."""
    size = int(rng.choice([3, 5, 7]))
    kernel = (1, size) if rng.integers(2) else (size, 1)
    x = net.input(_channels(rng, high=384), _side(rng, 64))
    return net.convolution(x, _channels(rng, high=384), kernel, activation=_activation(rng))


def _first(net: Net, rng: np.random.Generator) -> Tensor:
    kernel, stride = int(rng.choice([3, 3, 5, 7])), int(rng.choice([1, 2, 2]))
    x = net.input(3, int(rng.choice([96, 128, 160, 192, 224, 256])))
    out = int(rng.choice([16, 24, 32, 40, 48, 64, 96]))
    return net.convolution(x, out, kernel, stride, activation=_activation(rng))


def _depthwise(net: Net, rng: np.random.Generator) -> Tensor:
    channels, stride = _channels(rng), int(rng.choice([1, 1, 2]))
    x = net.input(channels, _side(rng))
    kernel = int(rng.choice([3, 3, 5, 7]))
    return net.convolution(
        x, channels, kernel, stride, groups=channels, activation=_activation(rng)
    )


def _grouped(net: Net, rng: np.random.Generator) -> Tensor:
    """Of as many channels out as in, or more, or fewer."""
    groups = int(rng.choice([2, 3, 4, 4, 8, 16, 32]))
    width, out = (int(rng.choice([2, 4, 6, 8, 10, 12, 16, 20, 32, 64])) for _ in range(2))
    kernel, stride = int(rng.choice([1, 3, 3])), int(rng.choice([1, 1, 2]))
    if rng.integers(2):
        out = width
    x = net.input(groups * width, _side(rng, 112))
    return net.convolution(
        x, groups * out, kernel, stride, groups=groups, activation=_activation(rng)
    )


def _pool(net: Net, rng: np.random.Generator) -> Tensor:
    """After a convolution that is as cheap as can be: it sets the layout."""
    channels, side = _channels(rng, 16, 512), _side(rng, 112)
    x = net.input(channels, side)
    if rng.integers(2):
        x = net.convolution(x, channels, groups=channels)
    if side <= 16 and rng.integers(2):  # all of a small image, written as a window
        return net.add(layers.Pool(Statistic.MEAN, (side,) * 2, (1, 1), (0,) * 4, (1, 1)), x)
    kernel, stride = ((3, 2), (2, 2), (3, 1))[rng.integers(3)]
    return net.pool(x, Statistic.MAX if rng.integers(2) else Statistic.MEAN, kernel, stride)


def _global_pool(net: Net, rng: np.random.Generator) -> Tensor:
    x = net.input(_channels(rng, 16, 2048), _side(rng, 56))
    return net.add(layers.GlobalPool(Statistic.MEAN), x)


def _pointwise_function(net: Net, rng: np.random.Generator) -> Tensor:
    x = net.input(_channels(rng), _side(rng, 112))
    kinds = (*GATES, Function.RELU, Function.RELU6)
    return net.activated(x, kinds[rng.integers(len(kinds))])


def _written_out(net: Net, rng: np.random.Generator) -> Tensor:
    return net.hard_swish_written_out(net.input(_channels(rng), _side(rng, 112)))


def _normalised(net: Net, rng: np.random.Generator) -> Tensor:
    """BatchNorm that no convolution comes before."""
    x = net.add(layers.BatchNorm(), net.input(_channels(rng), _side(rng, 64)))
    return net.activated(x, Function.RELU if rng.integers(2) else None)


def _binary(net: Net, rng: np.random.Generator) -> Tensor:
    channels, side = _channels(rng), _side(rng, 112)
    x, y = net.input(channels, side), net.input(channels, side)
    return net.activated(net.sum(x, y), Function.RELU if rng.integers(2) else None)


def _scaled(net: Net, rng: np.random.Generator) -> Tensor:
    channels = _channels(rng)
    return net.product(net.input(channels, _side(rng, 112)), net.input(channels, 1))


def _excited(net: Net, rng: np.random.Generator) -> Tensor:
    """Squeeze-and-excitation behind a convolution, as in networks."""
    channels = _channels(rng, 16, 1024)
    x = net.convolution(net.input(channels, _side(rng, 64)), channels, groups=channels)
    gate = GATES[2 + rng.integers(2)]
    return net.squeeze_excited(x, max(8, channels // int(rng.choice([4, 16, 24]))), gate)


def _concatenated(net: Net, rng: np.random.Generator) -> Tensor:
    side = _side(rng, 64)
    parts = [net.input(_channels(rng, high=512), side) for _ in range(rng.integers(2, 5))]
    return net.add(moves.Concat(1), *parts)


def _shuffled(net: Net, rng: np.random.Generator) -> Tensor:
    groups = int(rng.choice([2, 2, 4, 8]))
    channels = groups * int(rng.integers(8, 120))
    return net.shuffled(net.input(channels, _side(rng, 56)), groups)


def _halved(net: Net, rng: np.random.Generator) -> Tensor:
    """A split whose halves are added."""
    half = _channels(rng, high=256)
    x = net.input(2 * half, _side(rng, 56))
    return net.sum(*net.add_all(moves.Split(1, (half, half)), x))


def _cropped(net: Net, rng: np.random.Generator) -> Tensor:
    """One pixel less on two sides, or one more."""
    channels, side = _channels(rng, high=512), _side(rng, 64)
    x = net.input(channels, side)
    if rng.integers(2):
        return net.add(moves.Pad((0, 0, 1, 1, 0, 0, 0, 0)), x)
    starts, ends = (0, 0, 1, 1), (x.shape[0], channels, side, side)
    return net.add(moves.Slice(starts, ends, (1, 1, 1, 1)), x)


def _resized(net: Net, rng: np.random.Generator) -> Tensor:
    channels, side = _channels(rng, 16, 512), _side(rng, 28)
    x = net.convolution(net.input(channels, side), channels, groups=channels)
    how = (moves.Interpolation.NEAREST, moves.Interpolation.LINEAR_CORNERS)[rng.integers(2)]
    return net.add(moves.Resize((2 * side, 2 * side), how), x)


def _linear(net: Net, rng: np.random.Generator) -> Tensor:
    x = net.linear(net.input(_channels(rng, 64, 16384), 1), _channels(rng, 10, 4096))
    return net.activated(x, Function.RELU if rng.integers(4) == 0 else None)


# share of a table that each kind of layer gets: by how much of networks' time is its
KINDS: dict[str, tuple[int, Draw]] = {
    "pointwise": (10, _pointwise),
    "dense": (10, _dense),
    "depthwise": (7, _depthwise),
    "grouped": (5, _grouped),
    "summed": (4, _summed),
    "flat": (3, _flat),
    "first": (2, _first),
    "strided_pointwise": (2, _strided_pointwise),
    "pool": (6, _pool),
    "global_pool": (1, _global_pool),
    "function": (6, _pointwise_function),
    "written_out": (2, _written_out),
    "normalised": (2, _normalised),
    "binary": (2, _binary),
    "scaled": (2, _scaled),
    "excited": (3, _excited),
    "concatenated": (2, _concatenated),
    "shuffled": (2, _shuffled),
    "halved": (1, _halved),
    "cropped": (1, _cropped),
    "resized": (1, _resized),
    "linear": (2, _linear),
}


def single_kernels(seed: int, batch_size: int = 1) -> Iterator[tuple[str, Graph]]:
    """Endless graphs of single kernels, each with a name that says its shapes; the first n of a
    seed are the same for every n."""
    rng = np.random.default_rng(seed)
    round_ = [kind for kind, (share, _) in KINDS.items() for _ in range(share)]
    seen: set[str] = set()
    while True:
        for index in rng.permutation(len(round_)):
            kind = round_[index]
            name, graph = _drawn(kind, rng, batch_size)
            if name not in seen:
                seen.add(name)
                yield name, graph


def _drawn(kind: str, rng: np.random.Generator, batch_size: int) -> tuple[str, Graph]:
    """One that is neither too long to measure nor too large to hold."""
    while True:
        net = Net(batch_size)
        graph = net.graph(KINDS[kind][1](net, rng))
        elements = max(
            prod(tensor.shape) for node in graph.nodes for tensor in (*node.inputs, node.output)
        )
        if (
            graph.madds <= MAX_MADDS * batch_size
            and elements <= MAX_ELEMENTS * batch_size
            and graph.params <= MAX_WEIGHTS
        ):
            return f"{kind} {_written(graph)}", graph


def _written(graph: Graph) -> str:
    """Layers in order with what sets them, and the shapes of the inputs."""
    inputs = " ".join("x".join(map(str, tensor.shape)) for tensor in graph.inputs)
    return f"{inputs} -> " + " -> ".join(str(node.layer) for node in graph.nodes)
