"""Operations that a latency table is made of, with their published (Once-for-All) keys."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from profiler.errors import InvalidInputError
from profiler.graph.graph import Graph, GraphBuilder, Tensor
from profiler.graph.layers import (
    Activation,
    BatchNorm,
    Function,
    GlobalPool,
    Linear,
    Statistic,
    square_convolution,
)
from profiler.graph.moves import Reshape
from profiler.graph.op import written_as
from profiler.printable import shown
from profiler.spaces.inverted_residual import add_inverted_residual


class OpKind(StrEnum):
    """Op kinds; the value is the prefix of the Once-for-All table key."""

    CONV = "Conv"  # first 3x3 convolution, stride 2
    MBCONV = "expanded_conv"  # inverted residual block, with its shortcut
    CONV_1 = "Conv_1"  # 1x1 expansion before pooling
    AVG_POOL = "AvgPool2D"  # global average pooling
    CONV_2 = "Conv_2"  # 1x1 feature mixing after pooling, no BatchNorm, no bias
    LOGITS = "Logits"  # fully connected classifier


HEAD_MODULES = ("final_expand_layer", "global_avg_pool", "feature_mix_layer", "classifier")
TITLES = {
    OpKind.CONV: "first convolution",
    OpKind.MBCONV: "block",
    OpKind.CONV_1: "1×1 expansion",
    OpKind.AVG_POOL: "global pooling",
    OpKind.CONV_2: "1×1 feature mixing",
    OpKind.LOGITS: "classifier",
}


class OpActivation(StrEnum):
    NONE = "none"
    RELU = "relu"
    HARD_SWISH = "hard_swish"


_FUNCTIONS = {
    OpActivation.NONE: None,
    OpActivation.RELU: Function.RELU,
    OpActivation.HARD_SWISH: Function.HARD_SWISH,
}


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round `value` to a multiple of `divisor`, never losing more than 10 %.

    The channel rule of MobileNet and Once-for-All.

    >>> make_divisible(16 * 1.2), make_divisible(72 // 4)
    (24, 24)
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True, slots=True)
class OpConfig:
    """An op of these spaces by its sizes, in channels and pixels, per image of a batch.

    `mid_channels` equals `in_channels` for a block without expansion and is 0 where
    the kind has no inner channels. `height_px`/`width_px` are those of the input.
    """

    kind: OpKind
    in_channels: int
    out_channels: int
    height_px: int
    width_px: int
    mid_channels: int = 0
    kernel: int = 1
    stride: int = 1
    se: bool = False
    activation: OpActivation = OpActivation.NONE
    batch_size: int = 1

    @property
    def title(self) -> str:
        return TITLES[self.kind]

    @property
    def graph(self) -> Graph:
        """Its layers, named as in Once-for-All's state dicts."""
        return op_graph(self)

    @property
    def out_height_px(self) -> int:
        return 1 if self.kind is OpKind.AVG_POOL else -(-self.height_px // self.stride)

    @property
    def out_width_px(self) -> int:
        return 1 if self.kind is OpKind.AVG_POOL else -(-self.width_px // self.stride)

    @property
    def has_shortcut(self) -> bool:
        """Whether the block adds its input to its output."""
        return (
            self.kind is OpKind.MBCONV
            and self.stride == 1
            and self.in_channels == self.out_channels
        )

    @property
    def has_expansion(self) -> bool:
        """Whether a block begins with a 1x1 convolution (all but the first block do)."""
        return self.kind is OpKind.MBCONV and self.mid_channels != self.in_channels

    @property
    def se_channels(self) -> int:
        """Inner channels of squeeze-and-excitation: make_divisible(mid // 4); 0 without."""
        return make_divisible(self.mid_channels // 4) if self.se else 0

    @property
    def key(self) -> str:
        """Key in Once-for-All's table form; `expand` is the number of mid channels.

        >>> OpConfig(OpKind.CONV_1, 192, 1152, 6, 6).key
        'Conv_1-input:6x6x192-output:6x6x1152'
        """
        head = f"{self.kind}-input:{self.height_px}x{self.width_px}x{self.in_channels}"
        if self.kind is OpKind.LOGITS:
            return f"{head}-output:{self.out_channels}"
        head += f"-output:{self.out_height_px}x{self.out_width_px}x{self.out_channels}"
        if self.kind is not OpKind.MBCONV:
            return head
        return (
            f"{head}-expand:{self.mid_channels}-kernel:{self.kernel}-stride:{self.stride}"
            f"-idskip:{int(self.has_shortcut)}-se:{int(self.se)}"
            f"-hs:{int(self.activation is OpActivation.HARD_SWISH)}"
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Its fields: by these journals know the ops that they hold."""
        return asdict(self)


@cache
def op_graph(op: OpConfig) -> Graph:
    """The layers of an op, named as in Once-for-All's state dicts."""
    builder = GraphBuilder()
    x = builder.input("input", (op.batch_size, op.in_channels, op.height_px, op.width_px))
    match op.kind:
        case OpKind.MBCONV:
            y = add_inverted_residual(
                builder, x, mid=op.mid_channels, out=op.out_channels, kernel=op.kernel,
                stride=op.stride, activation=_FUNCTIONS[op.activation], se_channels=op.se_channels,
            )  # fmt: skip
        case OpKind.AVG_POOL:
            y = builder.add("pool", GlobalPool(Statistic.MEAN), x)
        case OpKind.LOGITS:
            flat = builder.add("flat", Reshape((op.batch_size, op.in_channels)), x)
            y = builder.add("linear", Linear(op.out_channels), flat)
        case OpKind.CONV | OpKind.CONV_1 | OpKind.CONV_2:
            y = builder.add("conv", square_convolution(op.out_channels, op.kernel, op.stride), x)
            if op.kind is not OpKind.CONV_2:
                y = builder.add("bn", BatchNorm(), y)
            y = _activated(builder, op, "act", y)
    return builder.graph(y)


def _activated(builder: GraphBuilder, op: OpConfig, name: str, x: Tensor) -> Tensor:
    function = _FUNCTIONS[op.activation]
    return x if function is None else builder.add(name, Activation(function), x)


def module_names(n_ops: int) -> list[str]:
    """Once-for-All's names of a network's ops."""
    blocks = [f"blocks.{index}" for index in range(n_ops - 1 - len(HEAD_MODULES))]
    return ["first_conv", *blocks, *HEAD_MODULES]


SIZE = r"[1-9]\d{0,8}"  # in keys: never 0, nor of more digits than fit any layer
_KEY = re.compile(
    r"(?P<kind>Conv|Conv_1|Conv_2|AvgPool2D|Logits|expanded_conv)"
    r"-input:(?P<h>#)x(?P<w>#)x(?P<cin>#)"
    r"-output:(?:(?P<oh>#)x(?P<ow>#)x)?(?P<cout>#)"
    r"(?:-expand:(?P<mid>#)-kernel:(?P<k>#)-stride:(?P<s>#)"
    r"-idskip:[01]-se:(?P<se>[01])-hs:(?P<hs>[01]))?".replace("#", SIZE)
)


def parse_key(key: str, *, batch_size: int = 1) -> OpConfig:
    """Read a Once-for-All MobileNetV3 key back; the inverse of `OpConfig.key`.

    Raises:
        InvalidInputError: the key is not of that form or contradicts itself.
    """
    match = _KEY.fullmatch(key)
    if match is None or (match["kind"] == "expanded_conv") != (match["mid"] is not None):
        raise InvalidInputError(f"not an op key: {shown(key)}")
    kind = OpKind(match["kind"])
    stride, kernel, mid = int(match["s"] or 1), int(match["k"] or 1), int(match["mid"] or 0)
    activation = OpActivation.HARD_SWISH
    if kind is OpKind.CONV:
        stride, kernel = (1 if match["h"] == match["oh"] else 2), 3
    elif kind in (OpKind.AVG_POOL, OpKind.LOGITS):
        activation = OpActivation.NONE
    elif kind is OpKind.MBCONV and match["hs"] == "0":
        activation = OpActivation.RELU
    op = OpConfig(
        kind, int(match["cin"]), int(match["cout"]), int(match["h"]), int(match["w"]),
        mid, kernel, stride, match["se"] == "1", activation, batch_size,
    )  # fmt: skip
    return written_as(key, op)
