"""int8 export: the specification's constraints, integer arithmetic, and agreement with float32."""

from typing import Any

import numpy as np
import pytest
import torch

from profiler.errors import InvalidInputError
from profiler.graph.folding import fold
from profiler.graph.litert import Model
from profiler.graph.quantize import affine, calibrate, quantize
from profiler.graph.to_tflite import build_graph, export_tflite
from profiler.graph.to_torch import GraphModule, randomise_, weights_of
from profiler.graph.weights import random_weights
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_network import Network
from profiler.spaces.mobilenetv3_ops import OpActivation, OpConfig, OpKind

OPS = MobileNetV3Space(resolution_px=160).distinct_ops()
BLOCK = OpConfig(OpKind.MBCONV, 16, 24, 9, 9, 48, 5, 2, True, OpActivation.HARD_SWISH)


def natural_images(n, size_px, seed):
    """[n, size, size, 3] colour noise of 1/f amplitude, the spectrum of natural images."""
    noise = np.random.default_rng(seed).normal(size=(n, 3, size_px, size_px))
    frequency = np.hypot(np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px))
    spectrum = np.fft.rfft2(noise) / np.maximum(frequency, 1 / size_px)
    images = np.fft.irfft2(spectrum, s=(size_px, size_px))
    images /= images.std(axis=(1, 2, 3), keepdims=True)
    return images.transpose(0, 2, 3, 1).astype(np.float32)


def cosine(a, b):
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


def quantized_block(op=BLOCK, seed=0):
    rng = np.random.default_rng(seed)
    weights = random_weights(fold(op.graph), rng)
    graph = build_graph(fold(op.graph), weights, native_hard_swish=False)
    images = rng.normal(size=(4, op.height_px, op.width_px, op.in_channels)).astype(np.float32)
    return graph, quantize(graph, calibrate(graph, images))


@pytest.mark.parametrize("op", list(OPS.values())[::2], ids=list(OPS)[::2])
def test_an_int8_op_is_delegated_and_close_to_float32(op):
    weights = weights_of(randomise_(GraphModule(op.graph), seed=3), op.graph)
    shape = (4, op.height_px, op.width_px, op.in_channels)
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    content = export_tflite(op.graph, weights, precision="int8", calibration_images=images)
    int8, float32 = Model(content), Model(export_tflite(op.graph, weights))
    assert int8.fully_delegated
    assert int8.input_dtype == np.int8
    assert cosine(int8.run(images[:1]), float32.run(images[:1])) > 0.998


def normalised_network(ops, images):
    """Random weights; BatchNorm statistics and classifier bias set so that logits depend on the
    image (they hardly do in a network that is random throughout)."""
    network = randomise_(Network(ops), seed=0)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None  # a plain average over what follows
                layer.reset_running_stats()
        network.train()(batch)
        network.eval()
        logits: Any = network.classifier
        logits.linear.bias -= network(batch).mean(0)
    return network


def test_an_int8_network_ranks_classes_as_float32_does():
    """A shallow one: noise of int8 drowns what little of an image a deep random network keeps."""
    relu, hs = OpActivation.RELU, OpActivation.HARD_SWISH
    ops = [
        OpConfig(OpKind.CONV, 3, 16, 32, 32, 0, 3, 2, activation=hs),
        OpConfig(OpKind.MBCONV, 16, 16, 16, 16, 16, 3, 1, False, relu),
        OpConfig(OpKind.MBCONV, 16, 24, 16, 16, 64, 5, 2, True, hs),
        OpConfig(OpKind.CONV_1, 24, 96, 8, 8, activation=hs),
        OpConfig(OpKind.AVG_POOL, 96, 96, 8, 8),
        OpConfig(OpKind.CONV_2, 96, 128, 1, 1, activation=hs),
        OpConfig(OpKind.LOGITS, 128, 10, 1, 1),
    ]
    train, test = natural_images(64, 32, seed=1), natural_images(200, 32, seed=2)
    network = normalised_network(ops, train)
    graph, weights = network.as_graph(), network.weights()
    float32 = Model(export_tflite(graph, weights))
    int8 = Model(export_tflite(graph, weights, precision="int8", calibration_images=train))
    assert int8.fully_delegated
    expected = np.concatenate([float32.run(image[None]) for image in test])
    found = np.concatenate([int8.run(image[None]) for image in test])
    assert len(set(expected.argmax(1))) == 10  # the comparison below means something
    assert cosine(found, expected) > 0.98
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.85


def test_integer_arithmetic_of_the_classifier():
    """LiteRT computes round(s_x·s_w/s_y · Σ (x - z_x)·w + b) + z_y, to one unit."""
    op = OpConfig(OpKind.LOGITS, 64, 10, 1, 1)
    _, int8 = quantized_block(op)
    x, weight, bias = (int8.tensors[i] for i in int8.operators[0].inputs)
    y = int8.tensors[int8.output]
    codes = np.random.default_rng(4).integers(-128, 128, (1, 1, 1, 64)).astype(np.int8)
    total = weight.data.astype(np.int64) @ (codes.reshape(-1) - x.quantization.zero_point[0])
    total += bias.data
    real = x.quantization.scale[0] * weight.quantization.scale[0] * total
    stored = np.clip(np.round(real / y.quantization.scale[0]) + y.quantization.zero_point[0],
                     -128, 127)  # fmt: skip
    expected = (stored - y.quantization.zero_point[0]) * y.quantization.scale[0]
    found = Model(int8.serialise()).run(codes)[0]
    assert np.abs(found - expected).max() <= 1.001 * y.quantization.scale[0]


def test_the_specification_is_kept():
    _, int8 = quantized_block()
    for operator in int8.operators:
        inputs = [int8.tensors[i] for i in operator.inputs]
        output = int8.tensors[operator.output]
        assert inputs[0].dtype is output.dtype is np.int8
        assert output.quantization.scale.shape == (1,)
        assert -128 <= output.quantization.zero_point[0] <= 127
        if operator.code == "PAD":
            assert output.quantization == inputs[0].quantization
        if operator.code in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            x, weight, bias = inputs
            axis = 0 if operator.code == "CONV_2D" else 3
            assert weight.quantization.axis == axis
            assert len(weight.quantization.scale) == weight.shape[axis]
            assert not weight.quantization.zero_point.any()
            assert np.abs(weight.data.astype(int)).max() == 127
            assert bias.dtype is np.int32
            np.testing.assert_allclose(
                bias.quantization.scale, x.quantization.scale * weight.quantization.scale, rtol=1e-6
            )


def test_weights_and_biases_are_rounded_to_half_a_unit():
    graph, int8 = quantized_block()
    for before, after in zip(graph.tensors, int8.tensors, strict=True):
        if before.data is None or before.dtype is not np.float32:
            continue
        scale, zero_point = after.quantization.scale, after.quantization.zero_point
        if len(scale) > 1:
            shape = [1] * before.data.ndim
            shape[after.quantization.axis] = -1
            scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
        real = (after.data.astype(np.float64) - zero_point) * scale
        assert (np.abs(real - before.data) <= 0.501 * scale).all()


def test_zero_channels_and_large_biases_stay_in_range():
    op = OpConfig(OpKind.CONV_1, 4, 3, 2, 2)
    graph = fold(op.graph)
    weights = random_weights(graph, np.random.default_rng(0))
    weights["conv.weight"][0] = 0  # a pruned channel: output is its bias
    weights["conv.weight"][1] *= 1e-9
    weights["conv.bias"][:] = [1.5, -2.0, 0.25]
    images = np.random.default_rng(1).normal(size=(2, 2, 2, 4)).astype(np.float32)
    content = export_tflite(graph, weights, precision="int8", calibration_images=images)
    found = Model(content).run(images[:1])
    expected = Model(export_tflite(graph, weights)).run(images[:1])
    np.testing.assert_allclose(found, expected, atol=0.06)
    np.testing.assert_allclose(found[..., :2].reshape(-1, 2), [[1.5, -2.0]] * 4, atol=0.02)


def test_a_hard_swish_of_a_wide_input_stays_delegated():
    """The gate is 6 wide, its input 6,000: XNNPACK adds only scales less than 2^8 apart."""
    op = OpConfig(OpKind.CONV_2, 8, 8, 1, 1, activation=OpActivation.HARD_SWISH)
    weights = {"conv.weight": np.eye(8, dtype=np.float32)[:, :, None, None]}
    images = np.linspace(-3000, 3000, 64, dtype=np.float32).reshape(8, 1, 1, 8)
    int8 = Model(export_tflite(op.graph, weights, precision="int8", calibration_images=images))
    assert int8.fully_delegated
    for image in images:
        np.testing.assert_allclose(
            int8.run(image[None]), np.maximum(image[None], 0), atol=6000 / 255
        )


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero_point"),
    [(0, 6, 6 / 255, -128), (-6, 0, 6 / 255, 127), (2, 5, 5 / 255, -128), (0, 0, 1, -128)],
)
def test_ranges_hold_zero_exactly(low, high, scale, zero_point):
    found = affine(low, high)
    assert found.scale[0] == np.float32(scale)
    assert found.zero_point[0] == zero_point


def test_calibration_takes_the_extremes_of_all_images():
    op = OpConfig(OpKind.AVG_POOL, 1, 1, 2, 2)
    graph = build_graph(op.graph, {})
    images = np.array([1, 2, 3, 6, -4, 0, 0, 0], np.float32).reshape(2, 2, 2, 1)
    ranges = calibrate(graph, images)
    assert ranges[graph.input] == (-4, 6)
    assert ranges[graph.output] == (-1, 3)


def test_int8_needs_images_of_the_right_shape():
    weights = random_weights(BLOCK.graph, np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match="needs calibration images"):
        export_tflite(BLOCK.graph, weights, precision="int8")
    for shape in [(2, 9, 8, 16), (0, 9, 9, 16), (9, 9, 16)]:
        images = np.zeros(shape, np.float32)
        with pytest.raises(InvalidInputError, match=r"expected \[m, 9, 9, 16\]"):
            export_tflite(BLOCK.graph, weights, precision="int8", calibration_images=images)
