"""Whole networks of the families that CNNs come in, of random width, depth and image size.

A latency model of kernels is calibrated on them: in a network a kernel finds its weights and
inputs elsewhere than alone. Each family is the idea of a published one, not a copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from profiler.graph import moves
from profiler.graph.graph import Graph, Tensor
from profiler.graph.layers import Activation, BatchNorm, Function, GlobalPool, Statistic
from profiler.spaces.kernels import Net

MAX_MADDS = 3e9  # per image: longer networks cost time and add nothing
MAX_PARAMS = 40e6
CLASSES = 1000

RESOLUTIONS_PX = (160, 192, 224, 224, 224, 256)
RELU, RELU6 = Function.RELU, Function.RELU6

Grow = Callable[[Net, Tensor, np.random.Generator], Tensor]  # from the image to the last features


def _width(rng: np.random.Generator, channels: int) -> int:
    """About so many channels; mostly a multiple of 8."""
    step = int(rng.choice([16, 8, 8, 2]))
    return max(step, round(channels * float(np.exp(rng.uniform(-0.5, 0.4))) / step) * step)


def _stages(
    rng: np.random.Generator, channels: int, low: int, high: int
) -> Iterator[tuple[int, int]]:
    """Width and depth of four stages, widths about doubling."""
    base = _width(rng, channels)
    for stage in range(4):
        yield base * 2**stage, int(rng.integers(low, high + 1))


def _stem(net: Net, x: Tensor, rng: np.random.Generator, out: int) -> Tensor:
    if rng.integers(2):
        return net.pool(net.convolution(x, out, 7, 2, activation=RELU), Statistic.MAX, 3, 2)
    x = net.convolution(x, out, 3, 2, activation=RELU)
    return net.pool(x, Statistic.MAX, 3, 2)


def _vgg(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    """Stacks of plain convolutions, and pooling between them."""
    for width, depth in _stages(rng, 40, 1, 2):
        for _ in range(depth):
            x = net.convolution(x, width, 3, activation=RELU)
        x = net.pool(x, Statistic.MAX, 2, 2)
    x = net.pool(net.convolution(x, x.shape[1], 3, activation=RELU), Statistic.MAX, 2, 2)
    return net.activated(net.linear(x, int(rng.choice([512, 1024, 2048]))), RELU)


def _residual(net: Net, x: Tensor, rng: np.random.Generator, *, excited: bool = False) -> Tensor:
    """Two convolutions and a shortcut."""
    base = _width(rng, 52)
    x = _stem(net, x, rng, base)
    for stage, (_, depth) in enumerate(_stages(rng, base, 1, 2)):
        for block in range(depth):
            stride, width = 2 if stage and not block else 1, base * 2**stage
            y = net.convolution(x, width, 3, stride, activation=RELU)
            y = net.convolution(y, width, 3)
            if excited:
                y = net.squeeze_excited(y, max(4, width // 16), Function.SIGMOID)
            short = x if x.shape == y.shape else net.convolution(x, width, 1, stride)
            x = net.activated(net.sum(y, short), RELU)
    return x


def _excited_residual(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    return _residual(net, x, rng, excited=True)


def _bottleneck(net: Net, x: Tensor, rng: np.random.Generator, *, cardinality: int = 1) -> Tensor:
    """1x1, 3x3 (in groups), 1x1, and a shortcut."""
    base = cardinality * int(rng.choice([2, 4])) if cardinality > 1 else _width(rng, 52)
    x = _stem(net, x, rng, _width(rng, 40))
    for stage, (_, depth) in enumerate(_stages(rng, base, 1, 3)):
        inner = base * 2**stage
        out = inner * (2 if cardinality > 1 else 4)
        for block in range(depth):
            stride = 2 if stage and not block else 1
            y = net.convolution(x, inner, activation=RELU)
            y = net.convolution(y, inner, 3, stride, groups=cardinality, activation=RELU)
            y = net.convolution(y, out)
            short = x if x.shape == y.shape else net.convolution(x, out, 1, stride)
            x = net.activated(net.sum(y, short), RELU)
    return x


def _grouped_bottleneck(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    return _bottleneck(net, x, rng, cardinality=int(rng.choice([8, 16, 32])))


def _separable(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    """Depthwise, then 1x1."""
    width = _width(rng, 28)
    x = net.convolution(x, width, 3, 2, activation=RELU)
    for stage in range(5):
        for block in range(int(rng.integers(1, 4))):
            stride = 2 if stage and not block else 1
            x = net.convolution(x, x.shape[1], 3, stride, groups=x.shape[1], activation=RELU)
            x = net.convolution(x, width * 2**stage, activation=RELU)
    return x


def _inverted(
    net: Net, x: Tensor, rng: np.random.Generator, *,
    functions: tuple[Function, ...] = (RELU6, RELU), gate: Function | None = None,
) -> Tensor:  # fmt: skip
    """1x1 to a wide inside, depthwise, (squeeze-and-excitation,) 1x1 back, and a shortcut."""
    function = functions[rng.integers(len(functions))]
    base = _width(rng, 20)
    x = net.convolution(x, base, 3, 2, activation=function)
    for stage, factor in enumerate((1, 1.5, 2, 4, 6, 10)):
        out = max(8, round(base * factor / 8) * 8)
        for block in range(int(rng.integers(1, 4))):
            stride = 2 if stage in (1, 2, 3, 5) and not block else 1
            inner = round(x.shape[1] * float(rng.choice([3, 4, 6])))
            kernel = int(rng.choice([3, 3, 5]))
            y = net.convolution(x, inner, activation=function)
            y = net.convolution(y, inner, kernel, stride, groups=inner, activation=function)
            if gate and rng.integers(2):
                y = net.squeeze_excited(y, max(4, inner // int(rng.choice([4, 24]))), gate)
            y = net.convolution(y, out)
            x = net.sum(y, x) if x.shape == y.shape else y
    return net.convolution(x, _width(rng, 960), activation=function)


def _gated_inverted(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    """As MobileNetV3 and EfficientNet."""
    swish = Function.SILU if rng.integers(2) else Function.HARD_SWISH
    gate = Function.SIGMOID if swish is Function.SILU else Function.HARD_SIGMOID
    return _inverted(net, x, rng, functions=(swish,), gate=gate)


def _densely(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    """Every block's output beside all before it, normalised when read."""
    growth = int(rng.choice([12, 16, 24, 32]))
    x = _stem(net, x, rng, 2 * growth)

    def normalised(y: Tensor) -> Tensor:
        return net.activated(net.add(BatchNorm(), y), RELU)

    for stage in range(4):
        for _ in range(int(rng.integers(2, 7))):
            y = net.convolution(normalised(x), 4 * growth, activation=RELU)
            x = net.add(moves.Concat(1), x, net.convolution(y, growth, 3))
        if stage < 3:
            x = net.convolution(normalised(x), x.shape[1] // 2)
            x = net.pool(x, Statistic.MEAN, 2, 2)
    return normalised(x)


def _fire(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    """1x1 to few channels, then 1x1 and 3x3 side by side."""
    x = _stem(net, x, rng, _width(rng, 64))
    squeeze = int(rng.choice([12, 16, 24, 32]))
    for stage in range(3):
        for _ in range(int(rng.integers(1, 4))):
            y = net.convolution(x, squeeze * (stage + 1), activation=RELU)
            wide = 4 * y.shape[1]
            parts = [net.convolution(y, wide, kernel, activation=RELU) for kernel in (1, 3)]
            x = net.add(moves.Concat(1), *parts)
        x = net.pool(x, Statistic.MAX, 3, 2)
    return x


def _shuffle(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    """Half of the channels pass by; then all are shuffled."""
    x = _stem(net, x, rng, 24)
    base = 2 * int(rng.integers(20, 100))
    for stage in range(3):
        half = base * 2**stage // 2
        down = net.convolution(x, x.shape[1], 3, 2, groups=x.shape[1])
        sides = [net.convolution(down, half, activation=RELU)]
        y = net.convolution(x, half, activation=RELU)
        y = net.convolution(y, half, 3, 2, groups=half)
        sides.append(net.convolution(y, half, activation=RELU))
        x = net.shuffled(net.add(moves.Concat(1), *sides), 2)
        for _ in range(int(rng.integers(2, 6))):
            kept, y = net.add_all(moves.Split(1, (half, half)), x)
            y = net.convolution(y, half, activation=RELU)
            y = net.convolution(y, half, 3, groups=half)
            y = net.convolution(y, half, activation=RELU)
            x = net.shuffled(net.add(moves.Concat(1), kept, y), 2)
    return net.convolution(x, _width(rng, 1024), activation=RELU)


def _factored(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    """Kernels of one row, then of one column, and shortcuts."""
    base = _width(rng, 32)
    x = _stem(net, x, rng, base)
    for stage, (_, depth) in enumerate(_stages(rng, base, 1, 4)):
        for block in range(depth):
            stride, out = 2 if stage and not block else 1, base * 2**stage
            y = net.convolution(x, out // 2, 1, stride, activation=RELU)
            y = net.convolution(y, out // 4, activation=RELU)
            y = net.convolution(y, out // 2, (1, 3), activation=RELU)
            y = net.convolution(y, out // 2, (3, 1), activation=RELU)
            y = net.convolution(y, out, activation=RELU)
            short = x if x.shape == y.shape else net.convolution(x, out, 1, stride, activation=RELU)
            x = net.activated(net.sum(y, short), RELU)
    return x


def _cells(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    """Sums of separable convolutions and poolings side by side, as searched cells have them."""
    width = int(rng.choice([22, 32, 44, 48]))
    x = net.convolution(x, width, 3, 2)
    for stage in range(4):
        for block in range(int(rng.integers(1, 3))):
            stride = 2 if stage and not block else 1
            out = width * 2**stage
            y = net.convolution(net.add(Activation(RELU), x), out)
            sums = []
            for kernel in (3, 5):
                z = net.add(Activation(RELU), y)
                z = net.convolution(z, out, kernel, stride, groups=out)
                z = net.convolution(z, out, activation=RELU)
                z = net.convolution(net.convolution(z, out, kernel, groups=out), out)
                sums.append(net.sum(z, net.pool(y, Statistic.MEAN, 3, stride)))
            x = net.add(moves.Concat(1), *sums)
    return net.add(Activation(RELU), x)


FAMILIES: dict[str, Grow] = {
    "vgg": _vgg,
    "residual": _residual,
    "excited_residual": _excited_residual,
    "bottleneck": _bottleneck,
    "grouped_bottleneck": _grouped_bottleneck,
    "separable": _separable,
    "inverted": _inverted,
    "gated_inverted": _gated_inverted,
    "dense": _densely,
    "fire": _fire,
    "shuffle": _shuffle,
    "factored": _factored,
    "cells": _cells,
}


def family_networks(seed: int, batch_size: int = 1) -> Iterator[tuple[str, Graph]]:
    """Endless networks, the families in turns, named by family and number; the first n of a seed
    are the same for every n."""
    number = 0
    while True:
        for family in FAMILIES:
            yield f"{family} {number}", _network(family, seed, number, batch_size)
        number += 1


def _network(family: str, seed: int, number: int, batch_size: int) -> Graph:
    rng = np.random.default_rng([seed, number, list(FAMILIES).index(family)])
    while True:
        net = Net(batch_size)
        x = net.input(3, int(rng.choice(RESOLUTIONS_PX)))
        x = FAMILIES[family](net, x, rng)
        if len(x.shape) == 4:
            x = net.add(GlobalPool(Statistic.MEAN), x)
        graph = net.graph(net.linear(x, CLASSES))
        if graph.madds <= MAX_MADDS * batch_size and graph.params <= MAX_PARAMS:
            return graph
