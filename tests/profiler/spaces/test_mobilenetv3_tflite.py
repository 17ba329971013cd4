"""torch is the oracle: LiteRT must compute from the exported file what the torch module does."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.graph.litert import Model, load_schema
from profiler.graph.to_tflite import build_graph, export_tflite
from profiler.graph.to_torch import GraphModule, randomise_, weights_of
from profiler.graph.weights import random_weights
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_network import Network
from profiler.spaces.mobilenetv3_ops import OpActivation, OpConfig, OpKind

ALL_OPS = MobileNetV3Space().distinct_ops()


def run_torch(module, images):
    """[n, h, w, c] images to NHWC features or logits."""
    with torch.no_grad():
        out = module(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    return out.transpose(0, 2, 3, 1) if out.ndim == 4 else out


def relative_difference(a, b):
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())


def images_for(op, seed=0):
    shape = (op.batch_size, op.height_px, op.width_px, op.in_channels)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def check_op(op):
    module = randomise_(GraphModule(op.graph), seed=3)
    model = Model(export_tflite(op.graph, weights_of(module, op.graph)))
    assert model.fully_delegated
    images = images_for(op)
    assert relative_difference(model.run(images), run_torch(module, images)) < 1e-5


@pytest.mark.parametrize("op", ALL_OPS.values(), ids=ALL_OPS.keys())
def test_every_op_of_the_table_equals_torch(op):
    check_op(op)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    channels=st.tuples(*[st.integers(1, 40)] * 3),
    size=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    kernel=st.sampled_from([3, 5, 7]),
    stride=st.sampled_from([1, 2]),
    se=st.booleans(),
    activation=st.sampled_from([OpActivation.RELU, OpActivation.HARD_SWISH]),
    batch_size=st.integers(1, 3),
    shortcut=st.booleans(),
    expansion=st.booleans(),
)
def test_any_block_equals_torch(
    channels, size, kernel, stride, se, activation, batch_size, shortcut, expansion
):
    in_channels, out_channels, mid = channels
    check_op(
        OpConfig(
            OpKind.MBCONV, in_channels, in_channels if shortcut else out_channels, size[0], size[1],
            mid if expansion else in_channels, kernel, stride, se, activation, batch_size,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("space", "batch_size"),
    [
        (MobileNetV3Space(), 1),
        (MobileNetV3Space(width_mult=1.2, resolution_px=131), 2),
        (MobileNetV3Space("mbv3-cifar", resolution_px=32), 3),
    ],
    ids=str,
)
def test_a_network_equals_torch(space, batch_size):
    for seed, row in enumerate(space.sample(2, np.random.default_rng(5))):
        ops = space.ops(space.decode(row), batch_size=batch_size)
        network = randomise_(Network(ops), seed=seed)
        model = Model(export_tflite(network.as_graph(), network.weights()))
        assert model.fully_delegated
        assert model.input_shape == (batch_size, space.resolution_px, space.resolution_px, 3)
        images = images_for(ops[0], seed)
        assert relative_difference(model.run(images), run_torch(network, images)) < 1e-5


def test_the_built_in_kernels_agree_with_xnnpack():
    op = ALL_OPS["expanded_conv-input:28x28x40-output:14x14x80-expand:160-kernel:5-stride:2"
                 "-idskip:0-se:0-hs:1"]  # fmt: skip
    content = export_tflite(op.graph, random_weights(op.graph, np.random.default_rng(0)))
    plain = Model(content, xnnpack=False)
    assert not plain.fully_delegated
    images = images_for(op)
    assert relative_difference(plain.run(images), Model(content).run(images)) < 1e-5


def codes(op, **options):
    graph = build_graph(op.graph, random_weights(op.graph, np.random.default_rng(0)), **options)
    return [operator.code for operator in graph.operators]


def test_a_block_holds_no_stray_ops():
    """NHWC throughout: no TRANSPOSE or RESHAPE, and PAD only where a stride needs it."""
    block = OpConfig(OpKind.MBCONV, 16, 16, 8, 8, 48, 5, 1, True, OpActivation.HARD_SWISH)
    squeeze_excite = ["MEAN", "CONV_2D", "CONV_2D", "ADD", "MUL", "MUL"]
    assert codes(block) == [
        "CONV_2D", "HARD_SWISH", "DEPTHWISE_CONV_2D", "HARD_SWISH", *squeeze_excite,
        "CONV_2D", "ADD",
    ]  # fmt: skip
    first = OpConfig(OpKind.MBCONV, 16, 24, 8, 8, 16, 3, 2, False, OpActivation.RELU)
    assert codes(first) == ["PAD", "DEPTHWISE_CONV_2D", "CONV_2D"]
    conv_2 = OpConfig(OpKind.CONV_2, 8, 16, 1, 1, activation=OpActivation.HARD_SWISH)
    assert codes(conv_2, native_hard_swish=False) == ["CONV_2D", "ADD", "MUL", "MUL"]
    assert codes(OpConfig(OpKind.AVG_POOL, 8, 8, 7, 7)) == ["MEAN"]
    assert codes(OpConfig(OpKind.LOGITS, 8, 10, 1, 1)) == ["FULLY_CONNECTED"]


def test_the_file_is_what_tflite_readers_expect():
    op = OpConfig(OpKind.LOGITS, 8, 10, 1, 1)
    content = export_tflite(op.graph, random_weights(op.graph, np.random.default_rng(0)))
    assert content[4:8] == b"TFL3"
    model = load_schema().Model.GetRootAs(content, 0)
    assert model.Version() == 3
    assert model.Buffers(0).DataLength() == 0
    for index in range(1, model.BuffersLength()):
        vector = model.Buffers(index)
        address = vector.DataAsNumpy().ctypes.data - np.frombuffer(content, np.uint8).ctypes.data
        assert address % 16 == 0
    subgraph = model.Subgraphs(0)
    names = [subgraph.Tensors(i).Name() for i in (subgraph.Inputs(0), subgraph.Outputs(0))]
    assert names == [b"input", b"output"]


def test_export_is_deterministic():
    op = OpConfig(OpKind.CONV_1, 8, 16, 4, 4, activation=OpActivation.HARD_SWISH)
    weights = random_weights(op.graph, np.random.default_rng(0))
    assert export_tflite(op.graph, weights) == export_tflite(op.graph, weights)
