"""Sizes of ops, found in their layers."""

import pytest

from profiler.graph.graph import GraphBuilder
from profiler.graph.layers import (
    Activation,
    BatchNorm,
    Elementwise,
    Function,
    GlobalPool,
    Linear,
    Operation,
    Pool,
    Statistic,
    square_convolution,
)
from profiler.graph.moves import Reshape
from profiler.graph.op import Block, batch_size_of
from profiler.graph.op_shape import shape_of
from profiler.spaces.mobilenetv3 import MobileNetV3Space, open_space
from profiler.spaces.mobilenetv3_ops import OpKind

FUNCTIONS = {"none": None, "relu": Function.RELU, "hard_swish": Function.HARD_SWISH}


def bottleneck(stride=2):
    """A residual block of 64 to 256 channels, its shortcut a pooling and a convolution."""
    builder = GraphBuilder()
    x = y = builder.input("input", (3, 64, 28, 28))
    for name, layer in (
        ("reduce", square_convolution(32)),
        ("bn", BatchNorm()),
        ("relu", Activation(Function.RELU)),
        ("conv", square_convolution(32, 3, stride)),
        ("expand", square_convolution(256)),
    ):
        y = builder.add(name, layer, y)
    pool = Pool(Statistic.MEAN, (stride,) * 2, (stride,) * 2, (0,) * 4, (1, 1))
    short = builder.add("shortcut", square_convolution(256), builder.add("pool", pool, x))
    return builder.graph(builder.add("sum", Elementwise(Operation.ADD), y, short))


def head():
    """Pooling, a convolution on one pixel, and a classifier."""
    builder = GraphBuilder()
    y = builder.input("input", (1, 96, 7, 7))
    for name, layer in (
        ("conv", square_convolution(128)),
        ("pool", GlobalPool(Statistic.MEAN)),
        ("mix", square_convolution(64)),
        ("flat", Reshape((1, 64))),
        ("fc", Linear(10)),
    ):
        y = builder.add(name, layer, y)
    return builder.graph(y)


@pytest.mark.parametrize(
    "space", [MobileNetV3Space(width_mult=1.2, resolution_px=161), open_space("mbv3-cifar")]
)
def test_sizes_of_once_for_alls_ops_are_those_they_were_made_of(space):
    for op in space.distinct_ops(batch_size=2).values():
        shape = shape_of(op)
        assert shape.batch_size == batch_size_of(op) == op.batch_size
        assert (shape.in_channels, shape.mid_channels, shape.out_channels) == (
            op.in_channels, op.mid_channels, op.out_channels,
        )  # fmt: skip
        assert shape.in_px == (op.height_px, op.width_px)
        assert shape.out_px == (op.out_height_px, op.out_width_px)
        assert (shape.kernel, shape.stride) == (op.kernel, op.stride)
        assert (shape.has_gate, shape.has_shortcut) == (op.se, op.has_shortcut)
        assert shape.activation is FUNCTIONS[op.activation]
        assert shape.is_block == (op.kind is OpKind.MBCONV)


def test_a_residual_block_of_another_family():
    shape = shape_of(Block("bottleneck", "bottleneck 64 256", bottleneck()))
    assert (shape.in_channels, shape.mid_channels, shape.out_channels) == (64, 32, 256)
    assert (shape.in_px, shape.out_px) == ((28, 28), (14, 14))
    assert (shape.kernel, shape.stride, shape.batch_size) == (3, 2, 3)
    assert shape.is_block
    assert not shape.has_gate
    assert not shape.has_shortcut  # what is added was computed from the input
    assert [node.name for node in shape.convolutions] == ["reduce", "conv", "expand", "shortcut"]
    assert [node.name for node in shape.inner] == ["reduce", "conv"]


def test_what_follows_a_pooling_is_no_part_of_the_image():
    shape = shape_of(Block("head", "head", head()))
    assert [node.name for node in shape.convolutions] == ["conv"]
    assert shape.out_px == (1, 1)
    assert shape.mid_channels == 128
    assert shape.has_gate
    assert not shape.is_block


def test_blocks_are_told_apart_by_their_layers():
    one, same, other = (Block("b", "key", bottleneck(stride)) for stride in (2, 2, 1))
    assert one == same
    assert one.identity == same.identity
    assert one != other
    assert one.identity != other.identity
    assert len({one, same, other}) == 2
