"""Once-for-All's ProxylessNASNets (Cai et al., ICLR 2020), exactly as published.

At width 1.3 the released supernet; at width 1.0 the expand ratios 3 and 6 of ProxylessNAS's own
space (Cai et al., ICLR 2019), of which tables of phones were published. Keys are those of these
tables, where ``expand`` is the ratio.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from profiler.errors import InvalidInputError
from profiler.graph.graph import GraphBuilder
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
from profiler.graph.op import Block, Op, written_as
from profiler.printable import shown
from profiler.spaces.base import Condition, TokenPosition, Tokens
from profiler.spaces.blocks import BlockSpace
from profiler.spaces.inverted_residual import add_inverted_residual
from profiler.spaces.mobilenetv3_ops import SIZE, make_divisible
from profiler.spaces.networks import Segment
from profiler.spaces.once_for_all import Notation, refuse_resolution

EXPANDS = {1.3: (3, 4, 6), 1.0: (3, 6)}  # by width multiplier
DEPTHS, KERNELS = (2, 3, 4), (3, 5, 7)
STEM, FIRST, *STAGES, FINAL, LAST = (32, 16, 24, 40, 80, 96, 192, 320, 1280)  # channels
STRIDES = (2, 2, 2, 1, 2)
BLOCKS = [f"s{s}.b{b}" for s in range(1, 6) for b in range(1, 5)] + ["s6.b1"]
N_CLASSES = 1000
BN_EPS = 1e-3

NOTATION = Notation(
    {
        "d": [f"s{stage}.depth" for stage in range(1, 6)],
        "ks": [f"{block}.kernel" for block in BLOCKS],
        "e": [f"{block}.expand" for block in BLOCKS],
    },
    endings={"d": 1},  # the final block is a stage of its own
)


@dataclass(frozen=True)
class ProxylessSpace(BlockSpace):
    """5 stages of 2-4 inverted residual blocks and one at the end, kernel 3/5/7, expand 3/4/6.

    Raises:
        InvalidInputError: unknown width or resolution.
    """

    name: str = "proxyless"
    width_mult: float = 1.3
    resolution_px: int = 224

    def __post_init__(self) -> None:
        if self.width_mult not in EXPANDS:
            raise InvalidInputError(f"width multiplier {self.width_mult:g} is not 1.3 or 1.0")
        refuse_resolution(self.resolution_px)

    @cached_property
    def positions(self) -> tuple[TokenPosition, ...]:
        out: list[TokenPosition] = []
        for block in BLOCKS:
            stage, _, slot = block.partition(".b")
            when = None
            if stage != "s6":
                if slot == "1":
                    depth = len(out)
                    out.append(TokenPosition(f"{stage}.depth", DEPTHS))
                when = Condition(depth, tuple(i for i, n in enumerate(DEPTHS) if n >= int(slot)))
            out.append(TokenPosition(f"{block}.expand", EXPANDS[self.width_mult], when))
            out.append(TokenPosition(f"{block}.kernel", KERNELS, when))
        return tuple(out)

    def stretches(self, batch_size: int) -> Iterator[Segment]:
        first, channels, size = (
            self._scaled(FIRST),
            self._scaled(FIRST),
            -(-self.resolution_px // 2),
        )
        stem = partial(stem_op, self.resolution_px, self._scaled(STEM), batch_size)
        fixed = partial(block_op, size, self._scaled(STEM), first, 1, batch_size, 1, 3)
        yield self.stretch(lambda: [stem(), fixed()])
        outs = [self._scaled(width) for width in STAGES for _ in range(4)] + [self._scaled(FINAL)]
        strides = [stride if slot == 0 else 1 for stride in STRIDES for slot in range(4)] + [1]
        for block, out, stride in zip(BLOCKS, outs, strides, strict=True):
            made = partial(block_op, size, channels, out, stride, batch_size)
            yield self.stretch(
                lambda e, k, made=made: [made(e, k)], f"{block}.expand", f"{block}.kernel"
            )
            channels, size = out, -(-size // stride)
        last = self._scaled(LAST)
        yield self.stretch(
            lambda: [mix_op(size, channels, last, batch_size), logits_op(size, last, batch_size)]
        )

    def module_names(self, ops: Sequence[Op]) -> list[str]:
        blocks = [f"blocks.{index}" for index in range(len(ops) - 3)]
        return ["first_conv", *blocks, "feature_mix_layer", "classifier"]

    def parse(self, text: str) -> Tokens:
        return NOTATION.read(text, self.positions, self.resolution_px)

    def format(self, tokens: Tokens) -> str:
        return NOTATION.text(tokens, self.positions)

    def other_forms(self, tokens: Tokens) -> dict[str, object]:
        return {"ofa": NOTATION.ofa(tokens, self.positions, self.resolution_px)}

    def op_of_key(self, key: str, *, batch_size: int = 1) -> Op:
        return parse_key(key, batch_size=batch_size)

    def _scaled(self, channels: int) -> int:
        return make_divisible(channels * self.width_mult)


# --- ops ------------------------------------------------------------------------------------


def stem_op(resolution_px: int, channels: int, batch_size: int) -> Op:
    return _convolution("Conv", resolution_px, 3, channels, batch_size, kernel=3, stride=2)


def mix_op(size: int, channels: int, out: int, batch_size: int) -> Op:
    """The 1x1 convolution before pooling."""
    return _convolution("Conv_1", size, channels, out, batch_size)


def block_op(
    size: int, channels: int, out: int, stride: int, batch_size: int, expand: int, kernel: int
) -> Op:
    builder = GraphBuilder()
    x = builder.input("input", (batch_size, channels, size, size))
    y = add_inverted_residual(
        builder, x, mid=make_divisible(channels * expand), out=out, kernel=kernel, stride=stride,
        activation=Function.RELU6, eps=BN_EPS,
    )  # fmt: skip
    shape = f"input:{size}x{size}x{channels}-output:{y.shape[2]}x{y.shape[3]}x{out}"
    sizes = f"expand:{expand}-kernel:{kernel}-stride:{stride}"
    skips = int(stride == 1 and channels == out)
    key = f"expanded_conv-{shape}-{sizes}-idskip:{skips}"
    return Block("expanded_conv", key, builder.graph(y))


def logits_op(size: int, channels: int, batch_size: int, n_classes: int = N_CLASSES) -> Op:
    """Pooling and classifier."""
    builder = GraphBuilder()
    x = builder.input("input", (batch_size, channels, size, size))
    layers = {
        "pool": GlobalPool(Statistic.MEAN),
        "flat": Reshape((batch_size, channels)),
        "linear": Linear(n_classes),
    }
    key = f"Logits-input:{size}x{size}x{channels}-output:{n_classes}"
    return Block("Logits", key, builder.graph(builder.add_row(layers, x)))


def _convolution(
    kind: str, size: int, channels: int, out: int, batch_size: int, kernel: int = 1, stride: int = 1
) -> Op:
    builder = GraphBuilder()
    x = builder.input("input", (batch_size, channels, size, size))
    layers = {
        "conv": square_convolution(out, kernel, stride),
        "bn": BatchNorm(BN_EPS),
        "act": Activation(Function.RELU6),
    }
    y = builder.add_row(layers, x)
    key = f"{kind}-input:{size}x{size}x{channels}-output:{y.shape[2]}x{y.shape[3]}x{out}"
    return Block(kind, key, builder.graph(y))


_KEY = re.compile(
    r"(?P<kind>Conv|Conv_1|Logits|expanded_conv)-input:(?P<size>#)x(?P=size)x(?P<cin>#)"
    r"-output:(?:(?P<after>#)x(?P=after)x)?(?P<out>#)"
    r"(?:-expand:(?P<ratio>#)-kernel:(?P<k>#)-stride:(?P<s>#)-idskip:(?P<skip>[01]))?".replace(
        "#", SIZE
    )
)


def parse_key(key: str, *, batch_size: int = 1) -> Op:
    """Read a key of ProxylessNAS's tables.

    Raises:
        InvalidInputError: the key is not of that form or contradicts itself.
    """
    match = _KEY.fullmatch(key)
    if match is None or (match["kind"] == "expanded_conv") != (match["ratio"] is not None):
        raise InvalidInputError(f"not a ProxylessNAS op key: {shown(key)}")
    size, channels, out = (int(match[name]) for name in ("size", "cin", "out"))
    match match["kind"]:
        case "Conv":
            op = stem_op(size, out, batch_size)
        case "Conv_1":
            op = mix_op(size, channels, out, batch_size)
        case "Logits":
            op = logits_op(size, channels, batch_size, out)
        case _:
            stride, ratio, kernel = (int(match[name]) for name in ("s", "ratio", "k"))
            op = block_op(size, channels, out, stride, batch_size, ratio, kernel)
    return written_as(key, op)
