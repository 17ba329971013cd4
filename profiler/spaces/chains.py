"""Chains of random layers: kernels where networks have them, amid other kernels' data.

A kernel alone finds its input and its weights in the caches, and the layout that it likes best. In
a chain it finds what the layers before it left. A chain is no network of any family: each layer is
drawn for itself, from those that fit the image as it then is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np

from profiler.graph import moves
from profiler.graph.graph import Graph, Tensor
from profiler.graph.layers import Activation, BatchNorm, Function, GlobalPool, Statistic
from profiler.spaces.kernels import ACTIVATIONS, GATES, Net

FAMILY = "chain"  # as networks are named by theirs
LENGTH = 24  # links
MAX_MADDS = 500e6  # per image
MAX_PARAMS = 8e6
MAX_ELEMENTS = 1.5e6  # of a tensor
CLASSES = 1000
SIDES_PX = (160, 192, 224, 224, 224, 256)

Link = Callable[[Net, Tensor, np.random.Generator], Tensor]


def chains(seed: int, batch_size: int = 1) -> Iterator[tuple[str, Graph]]:
    """Endless chains, named by number; the first n of a seed are the same for every n."""
    number = 0
    while True:
        yield f"{FAMILY} {number}", _chain(seed, number, batch_size)
        number += 1


def _chain(seed: int, number: int, batch_size: int) -> Graph:
    rng = np.random.default_rng([seed, number])
    drawn = [link for link, (share, _) in LINKS.items() for _ in range(share)]
    while True:
        net = Net(batch_size)
        x = net.convolution(
            net.input(3, int(rng.choice(SIDES_PX))), int(rng.choice([16, 24, 32, 40, 48, 64])),
            int(rng.choice([3, 3, 5, 7])), 2, activation=_activation(rng),
        )  # fmt: skip
        # sides fall as in networks, from halves to thirty-seconds, some chains only so far
        halvings = sorted(rng.integers(0, LENGTH, int(rng.integers(2, 5))))
        for at in range(LENGTH):
            link = _halved_side if at in halvings else LINKS[drawn[rng.integers(len(drawn))]][1]
            x = link(net, x, rng)
        graph = net.graph(net.linear(net.add(GlobalPool(Statistic.MEAN), x), CLASSES))
        largest = max(prod(node.output.shape) for node in graph.nodes)
        if (
            graph.madds <= MAX_MADDS * batch_size
            and largest <= MAX_ELEMENTS * batch_size
            and graph.params <= MAX_PARAMS
        ):
            return graph


def _activation(rng: np.random.Generator) -> Function | None:
    return ACTIVATIONS[rng.integers(len(ACTIVATIONS))]


def _channels(x: Tensor, rng: np.random.Generator, *, least: int = 8) -> int:
    """Log-uniform about what networks have at this size: the fewer pixels, the more channels."""
    side = x.shape[2]
    low, high = max(least, 900 / side), min(1536, 16_000 / side)
    step = int(rng.choice([16, 16, 16, 8, 8, 2]))
    value = float(np.exp(rng.uniform(np.log(low), np.log(max(high, low + 1)))))
    return max(step, round(value / step) * step)


def _groups(x: Tensor, rng: np.random.Generator, *choices: int) -> int:
    """Of those that divide the channels."""
    fitting = [groups for groups in choices if x.shape[1] % groups == 0]
    return int(rng.choice(fitting)) if fitting else 1


def _pointwise(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    return net.convolution(x, _channels(x, rng), activation=_activation(rng))


def _dense(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    out, kernel = min(512, _channels(x, rng)), int(rng.choice([3, 3, 3, 5]))
    return net.convolution(x, out, kernel, activation=_activation(rng))


def _flat(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    out, size = min(384, _channels(x, rng)), int(rng.choice([3, 7]))
    kernel = (1, size) if rng.integers(2) else (size, 1)
    return net.convolution(x, out, kernel, activation=_activation(rng))


def _depthwise(net: Net, x: Tensor, rng: np.random.Generator, stride: int = 1) -> Tensor:
    kernel, channels = int(rng.choice([3, 3, 5, 7])), x.shape[1]
    return net.convolution(
        x, channels, kernel, stride, groups=channels, activation=_activation(rng)
    )


def _grouped(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    groups = _groups(x, rng, 2, 3, 4, 8, 16, 32)
    out = groups * max(2, min(512, _channels(x, rng)) // groups)
    kernel = int(rng.choice([1, 3, 3]))
    return net.convolution(x, out, kernel, groups=groups, activation=_activation(rng))


def _halved_side(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    """By pooling or by a stride, of each kind of convolution."""
    if x.shape[2] < 8:
        return _pointwise(net, x, rng)
    how = rng.integers(4)
    if how == 0:
        statistic = Statistic.MAX if rng.integers(2) else Statistic.MEAN
        kernel, stride = ((3, 2), (2, 2))[rng.integers(2)]
        return net.pool(x, statistic, kernel, stride)
    if how == 1:
        return _depthwise(net, x, rng, stride=2)
    out, kernel = min(512, _channels(x, rng)), (3, 1)[how - 2]
    return net.convolution(x, out, kernel, 2, activation=_activation(rng))


def _pool(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    return net.pool(x, Statistic.MAX if rng.integers(2) else Statistic.MEAN, 3, 1)


def _function(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    kinds = (*GATES, Function.RELU, Function.RELU6)
    return net.activated(x, kinds[rng.integers(len(kinds))])


def _written_out(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    return net.hard_swish_written_out(x)


def _normalised(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    return net.activated(net.add(BatchNorm(), x), Function.RELU if rng.integers(2) else None)


def _shortcut(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    y = net.convolution(x, x.shape[1], int(rng.choice([1, 1, 3])))
    if rng.integers(3) == 0:
        y = net.add(Activation(Function.RELU), y)
    return net.activated(net.sum(y, x), _activation(rng))


def _concatenated(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    """Convolutions side by side, or beside what they read."""
    parts = [
        net.convolution(x, max(8, _channels(x, rng) // 2), kernel, activation=_activation(rng))
        for kernel in (1, int(rng.choice([1, 3])))
    ]
    if rng.integers(2):
        parts[0] = x
    return net.add(moves.Concat(1), *parts)


def _excited(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    inner = max(4, x.shape[1] // int(rng.choice([4, 16, 24])))
    return net.squeeze_excited(x, inner, GATES[2 + rng.integers(2)])


def _shuffled(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    return net.shuffled(x, _groups(x, rng, 2, 2, 4, 8))


def _split(net: Net, x: Tensor, rng: np.random.Generator) -> Tensor:
    """One half passes by."""
    half = x.shape[1] // 2
    if x.shape[1] % 2:
        return _pointwise(net, x, rng)
    kept, y = net.add_all(moves.Split(1, (half, half)), x)
    y = net.convolution(y, half, activation=_activation(rng))
    return net.add(moves.Concat(1), kept, y)


# share of the links of each sort: about by how many of networks' kernels are its
LINKS: dict[str, tuple[int, Link]] = {
    "pointwise": (12, _pointwise),
    "dense": (6, _dense),
    "depthwise": (9, _depthwise),
    "grouped": (5, _grouped),
    "flat": (2, _flat),
    "pool": (3, _pool),
    "function": (4, _function),
    "written_out": (2, _written_out),
    "normalised": (2, _normalised),
    "shortcut": (5, _shortcut),
    "concatenated": (4, _concatenated),
    "excited": (3, _excited),
    "shuffled": (2, _shuffled),
    "split": (1, _split),
}
