"""What the runtimes say they run, against what is known of the graph that was written."""

from math import prod

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from profiler.errors import InvalidInputError, MeasurementError
from profiler.graph import layers, moves
from profiler.graph.graph import GraphBuilder
from profiler.graph.layers import Activation, Function, square_convolution
from profiler.graph.to_onnx import export_onnx
from profiler.graph.to_tflite import export_tflite
from profiler.models.kernel import Kernel, parse_kernel
from profiler.models.onnx_kernels import onnx_kernel_shares, onnx_kernels
from profiler.models.tflite_kernels import tflite_kernels
from tests.profiler.models.onnx_files import tensor, write_onnx

SHAPES = st.lists(st.lists(st.integers(1, 4096), max_size=5).map(tuple), max_size=3).map(tuple)
VALUES = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([0.5, 6.0, "Relu", "constant"]),
    st.lists(st.integers(0, 9), max_size=4).map(tuple),
)


def weights_of(graph):
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0.1, 1, shape).astype(np.float32)
        for name, shape in graph.weight_shapes.items()
    }


def kernels_of(graph):
    values = {one.name: np.zeros(one.shape, np.float32) for one in graph.inputs}
    return onnx_kernels(export_onnx(graph, weights_of(graph)), values)


def residual(n_channels=32):
    """Two convolutions, one strided and in groups, a shortcut, and a classifier."""
    net = GraphBuilder()
    image = net.input("input", (1, 16, 16, 16))
    x = net.add("first", square_convolution(n_channels, 3, 2, bias=True), image)
    x = net.add("relu", Activation(Function.RELU), x)
    y = net.add("second", square_convolution(n_channels, 3, bias=True), x)
    y = net.add("sum", layers.Elementwise(layers.Operation.ADD), y, x)
    y = net.add("mean", layers.GlobalPool(layers.Statistic.MEAN), y)
    y = net.add("flat", moves.Reshape((1, n_channels)), y)
    return net.graph(net.add("fc", layers.Linear(10), y))


@given(kind=st.sampled_from(["Gemm", "nchwc.Conv"]), shapes=st.tuples(SHAPES, SHAPES, SHAPES),
       attributes=st.dictionaries(st.sampled_from(["axis", "group", "mode"]), VALUES))  # fmt: skip
def test_a_key_is_read_back(kind, shapes, attributes):
    first, second, third = shapes
    kernel = Kernel(kind, first, second, third, tuple(sorted(attributes.items())))
    assert parse_kernel(kernel.key) == kernel


@pytest.mark.parametrize("key", ["Conv", "Conv(1x2; ; )", "Conv(1xa; ; ; )", "(1; ; ; )"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(InvalidInputError, match="not a kernel"):
        parse_kernel(key)


def madds(kernels):
    """Of convolutions and matrix products, whatever layout and fusion they run in."""
    return sum(
        kernel.output_elements * prod(kernel.weights[0][1:])
        for kernel in kernels
        if kernel.kind.endswith(("Conv", "Gemm"))
    )


def test_onnx_runtime_runs_all_of_the_work_and_fuses_what_it_can():
    graph = residual()
    kernels = kernels_of(graph)
    assert madds(kernels) == graph.madds
    convolutions = [kernel for kernel in kernels if kernel.kind.endswith("Conv")]
    assert len(convolutions) == 2  # with the activation in the first, the sum in the second
    assert convolutions[0].attribute("activation", "") == "Relu"
    assert [len(kernel.inputs) for kernel in convolutions] == [1, 2]
    assert not any(kernel.kind in ("Relu", "Add") for kernel in kernels)


def test_a_profile_that_lost_events_is_no_profile(monkeypatch):
    monkeypatch.setattr("profiler.models.op_profile.MAX_PROFILE_EVENTS", 5)
    with pytest.raises(MeasurementError, match="dropped events") as refused:
        kernels_of(residual())
    assert refused.value.reason == "partial_profile"


def test_weights_that_were_packed_are_known():
    gemm = kernels_of(residual())[-1]
    assert (gemm.inputs, gemm.weights, gemm.outputs) == (((1, 32),), ((10, 32), (10,)), ((1, 10),))


def test_a_function_that_is_taken_apart_late_is_what_runs():
    net = GraphBuilder()
    x = net.input("input", (1, 8, 6, 6))
    kernels = kernels_of(net.graph(net.add("hs", Activation(Function.HARD_SWISH), x)))
    assert [kernel.kind for kernel in kernels] == ["HardSigmoid", "Mul"]
    assert kernels[1].inputs == ((1, 8, 6, 6),) * 2


def in_turn(path, names):
    """A grouped convolution, a pooling and a product, with weights that are no input of theirs."""
    rng = np.random.default_rng(0)
    return write_onnx(
        path,
        [
            helper.make_node("Conv", ["x", "w"], ["a"], names[0], group=3, strides=[2, 2]),
            helper.make_node("MaxPool", ["a"], ["b"], names[1], kernel_shape=[6, 6]),
            helper.make_node("Flatten", ["b"], ["c"], names[2]),
            helper.make_node("MatMul", ["c", "m"], ["y"], names[3]),
        ],
        [tensor("x", [1, 12, 14, 14])],
        [tensor("y", [1, 500])],
        [
            ("w", rng.standard_normal((12, 4, 3, 3), np.float32)),
            ("m", rng.standard_normal((12, 500), np.float32)),
        ],
    )


@pytest.mark.parametrize("names", [("",) * 4, ("", "node0", "", "Conv_0")])
@pytest.mark.parametrize("beside", [False, True])
def test_nodes_without_names_keep_their_weights_and_settings(tmp_path, names, beside):
    values = {"x": np.ones((1, 12, 14, 14), np.float32)}
    named = onnx_kernels(in_turn(tmp_path / "named.onnx", "abcd"), values)
    path = in_turn(tmp_path / "net.onnx", names)
    if beside:
        onnx.save(onnx.load(path), path, save_as_external_data=True, location="net.weights")
        assert (tmp_path / "net.weights").stat().st_size > 24_000
    kernels = onnx_kernels(path, values)
    assert kernels == named
    assert kernels[0].weights == ((12, 4, 3, 3),)
    assert kernels[0].attribute("strides", (1, 1)) == (2, 2)
    assert kernels[-1].weights == ((12, 500),)
    if not beside:
        assert onnx_kernels(path.read_bytes(), values) == named


@pytest.mark.parametrize(("opset", "told"), [(17, 0), (20, 19)])
def test_an_op_that_the_runtime_has_rewritten_is_another_kernel(opset, told):
    net = GraphBuilder()
    x = net.input("input", (1, 6, 8, 8))
    mean = layers.Pool(layers.Statistic.MEAN, (3, 3), (1, 1), (1,) * 4, (1, 1))
    graph = net.graph(net.add("pool", mean, x))
    values = {"input": np.zeros((1, 6, 8, 8), np.float32)}
    (kernel,) = onnx_kernels(export_onnx(graph, {}, opset=opset), values)
    assert kernel.attribute("opset", 0) == told


def test_a_tflite_file_tells_its_ops(tmp_path):
    graph = residual()
    path = tmp_path / "net.tflite"
    path.write_bytes(export_tflite(graph, weights_of(graph)))
    kernels = tflite_kernels(path)
    convolutions = [kernel for kernel in kernels if kernel.kind == "CONV_2D"]
    assert convolutions[0].attribute("activation", "") == "Relu"
    assert convolutions[0].attribute("strides", (1, 1)) == (2, 2)
    assert convolutions[0].weights == ((32, 16, 3, 3), (32,))
    assert convolutions[0].outputs == ((1, 32, 8, 8),)


@pytest.mark.parametrize(
    ("dilations", "told"), [((1, 1), ""), ((2, 2), "dilations=[2 2]"), ((1, 3), "dilations=[1 3]")]
)
@pytest.mark.parametrize("groups", [1, 16])
def test_a_dilated_kernel_of_a_tflite_file_is_another(tmp_path, groups, dilations, told):
    net = GraphBuilder()
    x = net.input("input", (1, 16, 14, 14))
    padding = (dilations[0], dilations[1]) * 2
    dilated = layers.Convolution(16, (3, 3), (1, 1), padding, dilations, groups, bias=True)
    graph = net.graph(net.add("dilated", dilated, x))
    path = tmp_path / "net.tflite"
    path.write_bytes(export_tflite(graph, weights_of(graph)))
    (kernel,) = (one for one in tflite_kernels(path) if one.weights)
    assert kernel.key.endswith(f"; {told})")
    assert parse_kernel(kernel.key) == kernel


def test_a_depthwise_kernel_of_a_tflite_file_has_one_input_channel(tmp_path):
    net = GraphBuilder()
    x = net.input("input", (1, 24, 9, 9))
    graph = net.graph(net.add("dw", square_convolution(24, 5, groups=24, bias=True), x))
    path = tmp_path / "net.tflite"
    path.write_bytes(export_tflite(graph, weights_of(graph)))
    assert [k.weights[0] for k in tflite_kernels(path) if k.weights] == [(24, 1, 5, 5)]


def test_what_is_no_tflite_file_is_refused(tmp_path):
    path = tmp_path / "net.tflite"
    with pytest.raises(InvalidInputError, match="cannot read"):
        tflite_kernels(path)
    path.write_bytes(b"no model")
    with pytest.raises(InvalidInputError, match="not a TFLite model"):
        tflite_kernels(path)


def test_shares_of_kernels_sum_to_one_and_follow_the_work():
    net = GraphBuilder()
    x = net.input("input", (1, 64, 56, 56))
    large = net.add("large", square_convolution(64, 3, bias=True), x)
    graph = net.graph(net.add("small", square_convolution(16, 1, bias=True), large))
    values = {"input": np.ones((1, 64, 56, 56), np.float32)}
    found = onnx_kernel_shares(export_onnx(graph, weights_of(graph)), values, threads=1, max_s=0.1)
    assert [kernel for kernel, _ in found] == list(kernels_of(graph))
    assert sum(share for _, share in found) == pytest.approx(1)
    convolutions = [share for kernel, share in found if kernel.kind.endswith("Conv")]
    assert convolutions[0] > 5 * convolutions[1]  # of 36 times the multiply-adds
