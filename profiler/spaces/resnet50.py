"""Once-for-All's elastic ResNet50D (github.com/mit-han-lab/once-for-all), exactly as published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from profiler.graph.graph import GraphBuilder, Tensor
from profiler.graph.layers import (
    Activation,
    BatchNorm,
    Elementwise,
    Function,
    GlobalPool,
    Layer,
    Linear,
    Operation,
    Pool,
    Statistic,
    square_convolution,
)
from profiler.graph.moves import Reshape
from profiler.graph.op import Block, Op
from profiler.spaces.base import Condition, TokenPosition, Tokens
from profiler.spaces.blocks import BlockSpace
from profiler.spaces.mobilenetv3_ops import make_divisible
from profiler.spaces.networks import Segment
from profiler.spaces.once_for_all import Notation, refuse_resolution

DEPTHS, EXPANDS, WIDTHS = (0, 1, 2), (0.2, 0.25, 0.35), (0.65, 0.8, 1.0)
STEM_DEPTHS = (0, 2)  # without and with the middle one of three convolutions
STEM_CHANNELS, N_CLASSES = 64, 1000
BASE_DEPTHS, CHANNELS, STRIDES = (2, 2, 4, 2), (256, 512, 1024, 2048), (1, 2, 2, 2)
STAGES = tuple(f"s{stage}" for stage in range(1, 5))
BLOCKS = {
    stage: [f"{stage}.b{block + 1}" for block in range(depth + DEPTHS[-1])]
    for stage, depth in zip(STAGES, BASE_DEPTHS, strict=True)
}
WIDTH_NAMES = ["stem.mid", "stem.width", *(f"{stage}.width" for stage in STAGES)]

NOTATION = Notation(
    {
        "d": ["stem.depth", *(f"{stage}.depth" for stage in STAGES)],
        "e": [f"{block}.expand" for blocks in BLOCKS.values() for block in blocks],
        "w": WIDTH_NAMES,
    },
    by_index=WIDTH_NAMES,
    synonyms={"stem.depth": {1: 0}},  # only the deepest has the convolution
)


@dataclass(frozen=True)
class ResNet50Space(BlockSpace):
    """Bottleneck blocks in 4 stages; depth and width of stem and stages, expand of each block.

    The channels of a stage are its first block's input and output, so that two widths and an
    expand ratio decide what that block is.

    Raises:
        InvalidInputError: a resolution outside 96-320 px.
    """

    name: str = "resnet50"
    resolution_px: int = 224

    def __post_init__(self) -> None:
        refuse_resolution(self.resolution_px)

    @cached_property
    def positions(self) -> tuple[TokenPosition, ...]:
        out = [TokenPosition("stem.depth", STEM_DEPTHS)]
        out += [TokenPosition(name, WIDTHS) for name in WIDTH_NAMES[:2]]
        for stage, base in zip(STAGES, BASE_DEPTHS, strict=True):
            depth = len(out)
            out.append(TokenPosition(f"{stage}.depth", DEPTHS))
            out.append(TokenPosition(f"{stage}.width", WIDTHS))
            for index, block in enumerate(BLOCKS[stage]):
                deep = tuple(i for i, more in enumerate(DEPTHS) if base + more > index)
                when = Condition(depth, deep) if len(deep) < len(DEPTHS) else None
                out.append(TokenPosition(f"{block}.expand", EXPANDS, when))
        return tuple(out)

    def stretches(self, batch_size: int) -> Iterator[Segment]:
        n, half = batch_size, -(-self.resolution_px // 2)
        first = partial(stem_op, n, self.resolution_px, 3, stride=2)
        yield self.stretch(lambda mid: [first(stem_mid(mid))], "stem.mid")
        yield self.stretch(partial(_middle, n, half), "stem.depth", "stem.mid")
        yield self.stretch(
            lambda mid, width: [stem_op(n, half, stem_mid(mid), scaled(STEM_CHANNELS, width))],
            "stem.mid", "stem.width",
        )  # fmt: skip
        yield self.stretch(
            lambda width: [pool_op(n, half, scaled(STEM_CHANNELS, width))], "stem.width"
        )
        size, before, channels = -(-half // 2), "stem.width", STEM_CHANNELS
        for stage, out, stride in zip(STAGES, CHANNELS, STRIDES, strict=True):
            first_block, *others = BLOCKS[stage]
            changing = partial(_first_block, n, size, channels, out, stride)
            yield self.stretch(changing, before, f"{stage}.width", f"{first_block}.expand")
            size, before, channels = -(-size // stride), f"{stage}.width", out
            for block in others:
                made = partial(_further_block, n, size, out)
                yield self.stretch(made, f"{stage}.width", f"{block}.expand")
        yield self.stretch(lambda width: [head_op(n, size, scaled(channels, width))], before)

    def module_names(self, ops: Sequence[Op]) -> list[str]:
        kinds = [op.kind for op in ops]
        stem = [f"input_stem.{index}" for index in range(kinds.index("max_pool"))]
        blocks = [f"blocks.{index}" for index in range(len(ops) - len(stem) - 2)]
        return [*stem, "max_pooling", *blocks, "classifier"]

    def parse(self, text: str) -> Tokens:
        return NOTATION.read(text, self.positions, self.resolution_px)

    def format(self, tokens: Tokens) -> str:
        return NOTATION.text(tokens, self.positions)

    def other_forms(self, tokens: Tokens) -> dict[str, object]:
        return {"ofa": NOTATION.ofa(tokens, self.positions, self.resolution_px)}


def scaled(channels: int, width: float) -> int:
    return make_divisible(channels * width)


def stem_mid(width: float) -> int:
    """Channels within the stem."""
    return make_divisible(scaled(STEM_CHANNELS, width) // 2)


def _middle(n: int, size: int, depth: int, width: float) -> list[Op]:
    mid = stem_mid(width)
    return [stem_op(n, size, mid, mid, residual=True)] if depth else []


def _first_block(
    n: int, size: int, channels: int, out: int, stride: int,
    width_before: float, width: float, expand: float,
) -> list[Op]:  # fmt: skip
    ends = scaled(channels, width_before), scaled(out, width)
    return [bottleneck_op(n, size, *ends, expand, stride, first=True)]


def _further_block(n: int, size: int, channels: int, width: float, expand: float) -> list[Op]:
    kept = scaled(channels, width)
    return [bottleneck_op(n, size, kept, kept, expand)]


# --- ops, named as in Once-for-All's state dicts --------------------------------------------


def stem_op(
    n: int, size: int, channels: int, out: int, *, stride: int = 1, residual: bool = False
) -> Op:
    builder, x = _begin(n, channels, size)
    y = builder.add_row(_convolved("conv." if residual else "", out, 3, stride), x)
    if residual:
        y = builder.add("sum", Elementwise(Operation.ADD), x, y)
    return Block.of("stem_residual" if residual else "stem", builder.graph(y))


def pool_op(n: int, size: int, channels: int) -> Op:
    builder, x = _begin(n, channels, size)
    pool = Pool(Statistic.MAX, (3, 3), (2, 2), (1,) * 4, (1, 1))
    return Block.of("max_pool", builder.graph(builder.add("pool", pool, x)))


def bottleneck_op(
    n: int, size: int, channels: int, out: int, expand: float, stride: int = 1, first: bool = False
) -> Op:
    """1x1, 3x3 and 1x1 convolutions; the first of a stage also maps its input to `out`."""
    builder, x = _begin(n, channels, size)
    mid = make_divisible(round(out * expand))
    y = builder.add_row(_convolved("conv1.", mid), x)
    y = builder.add_row(_convolved("conv2.", mid, 3, stride), y)
    y = builder.add_row(_convolved("conv3.", out, act=False), y)
    if first:
        layers: dict[str, Layer] = {}
        if stride > 1:
            window = (stride, stride)
            layers["downsample.avg_pool"] = Pool(
                Statistic.MEAN, window, window, (0,) * 4, (1, 1), rounds_up=True
            )
        x = builder.add_row(layers | _convolved("downsample.", out, act=False), x)
    y = builder.add("sum", Elementwise(Operation.ADD), x, y)
    y = builder.add("final_act", Activation(Function.RELU), y)
    return Block.of("bottleneck", builder.graph(y), expand=mid, downsample=int(first))


def head_op(n: int, size: int, channels: int) -> Op:
    """Pooling and classifier."""
    builder, x = _begin(n, channels, size)
    pooled = {"pool": GlobalPool(Statistic.MEAN), "flat": Reshape((n, channels))}
    y = builder.add_row({**pooled, "linear": Linear(N_CLASSES)}, x)
    return Block.of("head", builder.graph(y))


def _begin(n: int, channels: int, size: int) -> tuple[GraphBuilder, Tensor]:
    builder = GraphBuilder()
    return builder, builder.input("input", (n, channels, size, size))


def _convolved(
    prefix: str, out: int, kernel: int = 1, stride: int = 1, *, act: bool = True
) -> dict[str, Layer]:
    layers: dict[str, Layer] = {
        f"{prefix}conv": square_convolution(out, kernel, stride),
        f"{prefix}bn": BatchNorm(),
    }
    return layers | ({f"{prefix}act": Activation(Function.RELU)} if act else {})
