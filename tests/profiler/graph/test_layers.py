"""torch is the oracle: every layer kind computes the same in ONNX Runtime and in LiteRT."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from profiler.errors import InvalidInputError
from profiler.graph import layers, moves
from profiler.graph.graph import GraphBuilder
from profiler.graph.layers import Function, Operation, Statistic
from profiler.graph.litert import Model
from profiler.graph.moves import Interpolation, PadMode
from profiler.graph.to_onnx import build_model, export_onnx
from profiler.graph.to_tflite import export_tflite
from profiler.graph.to_torch import GraphModule, randomise_, weights_of

IMAGE = (2, 6, 9, 11)


def graph_of(layer, *shapes):
    builder = GraphBuilder()
    inputs = [builder.input(f"input{i}", shape) for i, shape in enumerate(shapes)]
    return builder.graph(*builder.add_all("layer", layer, *inputs))


def run_torch(module, arrays):
    with torch.no_grad():
        found = module(*map(torch.from_numpy, arrays))
    return [y.numpy() for y in (found if isinstance(found, tuple) else (found,))]


def run_onnx(model, arrays):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))


def to_last(array):
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def check(graph, *, tflite=True, positive=False, tolerance=1e-5):
    """The three runtimes agree on random inputs and weights; shapes are as stated."""
    module = randomise_(GraphModule(graph), seed=1)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(t.shape).astype(np.float32) for t in graph.inputs]
    if positive:
        arrays = [np.abs(array) + np.float32(0.1) for array in arrays]
    expected = run_torch(module, arrays)
    assert [y.shape for y in expected] == [tensor.shape for tensor in graph.outputs]
    weights = weights_of(module, graph)
    assert {name: w.shape for name, w in weights.items()} == graph.weight_shapes
    onnx.checker.check_model(build_model(graph, weights), full_check=True)
    for y, wanted in zip(run_onnx(export_onnx(graph, weights), arrays), expected, strict=True):
        np.testing.assert_allclose(y, wanted, rtol=tolerance, atol=tolerance)
    if tflite:
        check_tflite(export_tflite(graph, weights), arrays, expected, tolerance)


def check_tflite(content, arrays, expected, tolerance):
    interpreter = Model(content)._interpreter
    details = {d["name"]: d["index"] for d in interpreter.get_input_details()}
    for position, array in enumerate(arrays):
        interpreter.set_tensor(details[f"input{position}"], to_last(array))
    interpreter.invoke()
    names = ["output"] if len(expected) == 1 else [f"output{i}" for i in range(len(expected))]
    found = {d["name"]: d["index"] for d in interpreter.get_output_details()}
    for name, wanted in zip(names, expected, strict=True):
        y = interpreter.get_tensor(found[name])
        np.testing.assert_allclose(y, to_last(wanted), rtol=tolerance, atol=tolerance)


WINDOWS = st.fixed_dictionaries(
    {
        "kernel": st.tuples(*[st.integers(1, 5)] * 2),
        "strides": st.tuples(*[st.integers(1, 3)] * 2),
        "padding": st.tuples(*[st.integers(0, 2)] * 4),
    }
)


def fits(layer, shape):
    try:
        layer.output_shapes(shape)
    except InvalidInputError:
        return False
    return True


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    window=WINDOWS,
    dilations=st.sampled_from([(1, 1), (2, 2), (1, 3)]),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    groups=st.integers(1, 4),
    per_group=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    batch=st.integers(1, 2),
    bias=st.booleans(),
)
def test_any_convolution(window, dilations, size, groups, per_group, batch, bias):
    shape = (batch, groups * per_group[0], *size)
    layer = layers.Convolution(
        groups * per_group[1], dilations=dilations, groups=groups, bias=bias, **window
    )
    assume(fits(layer, shape))
    check(graph_of(layer, shape))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    window=WINDOWS,
    size=st.tuples(st.integers(3, 14), st.integers(3, 14)),
    statistic=st.sampled_from([Statistic.MAX, Statistic.MEAN]),
    rounds_up=st.booleans(),
    counts_padding=st.booleans(),
)
def test_any_pooling(window, size, statistic, rounds_up, counts_padding):
    begins = tuple(
        min(p, k // 2) for p, k in zip(window["padding"], window["kernel"], strict=False)
    )
    window |= {"padding": begins * 2}  # torch's are symmetric and at most half the kernel
    if statistic is Statistic.MAX:
        counts_padding = False
    layer = layers.Pool(
        statistic, dilations=(1, 1), rounds_up=rounds_up, counts_padding=counts_padding, **window
    )
    shape = (2, 3, *size)
    assume(fits(layer, shape))
    if counts_padding and layer.padding_used(size) != layer.padding:
        with pytest.raises(InvalidInputError, match="ONNX has no mean"):
            export_onnx(graph_of(layer, shape), {})
    else:
        check(graph_of(layer, shape))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    window=WINDOWS,
    size=st.tuples(st.integers(3, 14), st.integers(3, 14)),
    statistic=st.sampled_from([Statistic.MAX, Statistic.MEAN]),
)
def test_any_pooling_with_borders_that_differ_by_side(window, size, statistic):
    kernel = window["kernel"]
    padding = tuple(min(p, kernel[axis % 2] - 1) for axis, p in enumerate(window["padding"]))
    assume(padding[:2] != padding[2:])
    window |= {"padding": padding, "dilations": (1, 1), "rounds_up": True}
    layer = layers.Pool(statistic, **window, counts_padding=statistic is Statistic.MEAN)
    shape = (2, 3, *size)
    assume(fits(layer, shape))
    graph = graph_of(layer, shape)
    (y,) = run_torch(GraphModule(graph), [np.ones(shape, np.float32)])
    assert y.shape == graph.outputs[0].shape
    if statistic is Statistic.MAX or layer.padding_used(size) == padding:
        check(graph)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    kernel=st.tuples(*[st.integers(1, 4)] * 2),
    strides=st.tuples(*[st.integers(1, 3)] * 2),
    padding=st.tuples(*[st.integers(0, 1)] * 2),
    output_padding=st.integers(0, 1),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    bias=st.booleans(),
)
def test_any_transposed_convolution(kernel, strides, padding, output_padding, channels, bias):
    assume(all(output_padding < stride for stride in strides))
    layer = layers.TransposedConvolution(
        channels[1], kernel, strides, padding * 2, (1, 1), (output_padding,) * 2, bias=bias
    )
    shape = (1, channels[0], 5, 4)
    assume(min(layer.output_shapes(shape)[0]) > 0)
    check(graph_of(layer, shape), tflite=output_padding == 0)


@pytest.mark.parametrize("function", Function, ids=str)
def test_any_activation(function):
    layer = layers.Activation(function)
    tflite = function not in (Function.SOFTPLUS, Function.ERF)
    positive = function in (Function.LOG, Function.SQRT)
    check(graph_of(layer, IMAGE), tflite=tflite, positive=positive)
    if not tflite:
        with pytest.raises(InvalidInputError, match="layer: TFLite has no Activation of"):
            export_tflite(graph_of(layer, IMAGE), {})


@pytest.mark.parametrize("operation", Operation, ids=str)
@pytest.mark.parametrize(
    "shapes", [(IMAGE, IMAGE), (IMAGE, (2, 6, 1, 1)), ((6, 1, 1), IMAGE), ((2, 7), (7,))], ids=str
)
def test_any_operation_of_two(operation, shapes):
    check(graph_of(layers.Elementwise(operation), *shapes), positive=True)


OTHERS = [
    (layers.Linear(7), (3, 5)),
    (layers.Linear(7, bias=False), (3, 5)),
    (layers.Linear(7), (2, 4, 5)),
    (layers.Linear(7, bias=False), (2, 3, 4, 5)),
    (layers.BatchNorm(1e-3), IMAGE),
    (layers.BatchNorm(), (4, 6)),
    (layers.PRelu(), IMAGE),
    (layers.PRelu(per_channel=False), IMAGE),
    (layers.LeakyRelu(0.2), IMAGE),
    (layers.Clip(0, 6), IMAGE),
    (layers.Clip(-0.5, 1), IMAGE),
    (layers.Softmax(1), IMAGE),
    (layers.Softmax(1), (4, 6)),
    (layers.GlobalPool(Statistic.MEAN), IMAGE),
    (layers.GlobalPool(Statistic.MAX), IMAGE),
    (layers.Reduce(Statistic.MEAN, (2, 3)), IMAGE),
    (layers.Reduce(Statistic.SUM, (2, 3), keeps_axes=False), IMAGE),
    (layers.Reduce(Statistic.MAX, (1,)), IMAGE),
    (layers.Reduce(Statistic.MIN, (2,), keeps_axes=False), IMAGE),
    (layers.Reduce(Statistic.MEAN, (1,), keeps_axes=False), (2, 3, 4)),
    (layers.Reduce(Statistic.MEAN, (2,), keeps_axes=False), (2, 3, 2, 4, 5)),
    (layers.Reduce(Statistic.MAX, (0, 4), keeps_axes=False), (2, 3, 2, 4, 5, 2)),
    (moves.Split(1, (1, 2, 3)), IMAGE),
    (moves.Split(1, (2, 3)), (4, 5)),
    (moves.Slice((0, 1, 2, 0), (2, 4, 9, 11), (1, 1, 1, 1)), IMAGE),
    (moves.Slice((0, 1, 0, 0), (2, 6, 9, 11), (1, 2, 2, 3)), IMAGE),
    (moves.Gather(1, (5, 0, 0, 3)), IMAGE),
    (moves.Gather(1, (3, 1)), (2, 4)),
    (moves.Pad((0, 0, 1, 2, 0, 3, 0, 1)), IMAGE),
    (moves.Pad((0, 0, 1, 2, 0, 0, 0, 1), value=-2.5), IMAGE),
    (moves.Pad((0, 0, 1, 2, 0, 0, 3, 1), PadMode.REFLECT), IMAGE),
    (moves.Resize((18, 33), Interpolation.NEAREST), IMAGE),
    (moves.Resize((4, 7), Interpolation.NEAREST), IMAGE),
    (moves.Resize((18, 20), Interpolation.LINEAR), IMAGE),
    (moves.Resize((18, 20), Interpolation.LINEAR_CORNERS), IMAGE),
    (moves.Reshape((2, 594)), IMAGE),
    (moves.Reshape((2, 3, 2, 9, 11)), IMAGE),
    (moves.Reshape((6, 2, 99)), IMAGE),
    (moves.Transpose((0, 2, 3, 1)), IMAGE),
    (moves.Transpose((3, 1, 0, 2)), IMAGE),
    (moves.Transpose((0, 2, 1, 3, 4)), (2, 3, 2, 4, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), OTHERS, ids=str)
def test_any_other_layer_of_one_tensor(layer, shape):
    check(graph_of(layer, shape))


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_tensors_side_by_side(axis):
    shapes = [[2, 3, 4, 5] for _ in range(3)]
    for index, shape in enumerate(shapes):
        shape[axis] = index + 1
    check(graph_of(moves.Concat(axis), *map(tuple, shapes)))


@pytest.mark.parametrize(
    "shapes", [((4, 5), (5, 6)), ((2, 4, 5), (2, 5, 6)), ((2, 3, 4, 5), (2, 3, 5, 6))], ids=str
)
def test_matrix_products(shapes):
    check(graph_of(layers.MatMul(), *shapes))


def test_what_tflite_has_not():
    for layer, shape in [
        (layers.LayerNorm(), (2, 3, 8)),
        (moves.Pad((0, 0, 1, 1, 0, 0, 1, 1), PadMode.EDGE), IMAGE),
        (layers.Convolution(4, (3,), (1,), (1, 1), (1,)), (1, 3, 9)),
    ]:
        graph = graph_of(layer, shape)
        check(graph, tflite=False)
        with pytest.raises(InvalidInputError, match="layer: TFLite has no"):
            export_tflite(graph, weights_of(GraphModule(graph), graph))


def test_int8_names_what_it_cannot_quantise():
    graph = graph_of(layers.Softmax(1), (2, 8))
    images = np.zeros((2, 1, 1, 8), np.float32)
    with pytest.raises(InvalidInputError, match=r"expected \[m, 8\]"):
        export_tflite(graph, {}, precision="int8", calibration_images=images)
    graph = graph_of(layers.Softmax(1), (1, 8, 1, 1))
    with pytest.raises(InvalidInputError, match="no int8 quantisation of SOFTMAX"):
        export_tflite(graph, {}, precision="int8", calibration_images=images)
