"""A space of two stages of residual blocks, as a user would write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from profiler.errors import InvalidInputError
from profiler.graph.graph import GraphBuilder
from profiler.graph.layers import (
    Activation,
    BatchNorm,
    Elementwise,
    Function,
    GlobalPool,
    Linear,
    Operation,
    Statistic,
    square_convolution,
)
from profiler.graph.moves import Reshape
from profiler.graph.op import Block, Op
from profiler.spaces.base import Condition, TokenPosition, Tokens
from profiler.spaces.networks import Segment

WIDTHS, KERNELS, SIZE_PX = (8, 16, 32), (1, 3), 12


@dataclass(frozen=True)
class ResidualSpace:
    """A stem of 16 channels, one block or two with inner channels and kernel chosen, a head."""

    name: str = "residual"

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"space": self.name, "width_mult": 1.0, "resolution_px": SIZE_PX}

    @property
    def positions(self) -> tuple[TokenPosition, ...]:
        second = Condition(2, (1,))
        return (
            TokenPosition("b1.width", WIDTHS),
            TokenPosition("b1.kernel", KERNELS),
            TokenPosition("depth", (1, 2)),
            TokenPosition("b2.width", WIDTHS, second),
            TokenPosition("b2.kernel", KERNELS, second),
        )

    def sample(self, n: int, rng: np.random.Generator) -> Tokens:
        tokens = rng.integers(0, [3, 2, 2, 3, 2], (n, 5)).astype(np.int8)
        tokens[tokens[:, 2] == 0, 3:] = -1
        return tokens

    def parse(self, text: str) -> Tokens:
        try:
            row = np.array([int(part) for part in text.split(",")], np.int8)
        except ValueError:
            raise InvalidInputError(f"malformed architecture {text!r}") from None
        if row.shape != (5,):
            raise InvalidInputError(f"malformed architecture {text!r}")
        return row

    def format(self, tokens: Tokens) -> str:
        return ",".join(map(str, tokens))

    def segments(self, *, batch_size: int = 1) -> tuple[Segment, ...]:
        blocks: dict[tuple[int, ...], tuple[Op, ...]] = {
            (w, k): (block(width, kernel, batch_size),)
            for w, width in enumerate(WIDTHS)
            for k, kernel in enumerate(KERNELS)
        }
        return (
            Segment((), {(): (stem(batch_size),)}),
            Segment((0, 1), blocks),
            Segment((3, 4), blocks),
            Segment((), {(): (head(batch_size),)}),
        )


def stem(n: int) -> Block:
    builder = GraphBuilder()
    x = builder.input("input", (n, 3, 2 * SIZE_PX, 2 * SIZE_PX))
    y = builder.add("conv", square_convolution(16, 3, 2, bias=True), x)
    return Block("stem", "stem", builder.graph(y))


def block(width: int, kernel: int, n: int) -> Block:
    builder = GraphBuilder()
    x = y = builder.input("input", (n, 16, SIZE_PX, SIZE_PX))
    for name, layer in (
        ("reduce", square_convolution(width)),
        ("bn", BatchNorm()),
        ("relu", Activation(Function.RELU)),
        ("conv", square_convolution(width, kernel)),
        ("expand", square_convolution(16)),
    ):
        y = builder.add(name, layer, y)
    y = builder.add("sum", Elementwise(Operation.ADD), x, y)
    return Block("residual", f"residual-{width}-k{kernel}", builder.graph(y))


def head(n: int) -> Block:
    builder = GraphBuilder()
    x = builder.input("input", (n, 16, SIZE_PX, SIZE_PX))
    y = builder.add("pool", GlobalPool(Statistic.MEAN), x)
    flat = builder.add("flat", Reshape((n, 16)), y)
    return Block("head", "head", builder.graph(builder.add("fc", Linear(10), flat)))
