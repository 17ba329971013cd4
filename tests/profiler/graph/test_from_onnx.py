"""ONNX Runtime is the oracle: a file read as a graph computes what the file does."""

import io
import math
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from profiler.errors import InvalidInputError
from profiler.graph.from_onnx import graph_of, read_onnx
from profiler.graph.to_onnx import build_model
from profiler.graph.to_torch import GraphModule

FLOAT = TensorProto.FLOAT
IMAGE = (2, 4, 6, 8)
RNG = np.random.default_rng(0)


def constant(shape):
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(nodes, shape=IMAGE, opset=17, ir_version=8, **initializers):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in initializers.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def check(model, positive=False):
    """The graph of `model`, once it has computed what ONNX Runtime does."""
    graph, weights = graph_of(model)
    assert {name: w.shape for name, w in weights.items()} == graph.weight_shapes
    module = GraphModule(graph).eval()
    state = {name: torch.tensor(w) for name, w in weights.items()}
    missing = module.load_state_dict(state, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing)
    x = np.random.default_rng(1).standard_normal(graph.inputs[0].shape).astype(np.float32)
    x = np.abs(x) if positive else x
    with torch.no_grad():
        found = module(torch.from_numpy(x)).numpy()
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(None, {graph.inputs[0].name: x})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    return graph


def node(op_type, *inputs, output="y", **attributes):
    return helper.make_node(op_type, ["x", *inputs], [output], name=op_type.lower(), **attributes)


def integers(*values):
    return np.array(values, np.int64)


NODES = [
    # (node, opset, initializers)
    (node("Conv", "w", auto_pad="SAME_UPPER", strides=[2, 2]), 17, {"w": constant((3, 4, 3, 3))}),
    (node("Conv", "w", auto_pad="SAME_LOWER", strides=[2, 3]), 17, {"w": constant((3, 4, 2, 3))}),
    (node("Conv", "w", auto_pad="VALID", group=2), 17, {"w": constant((6, 2, 3, 1))}),
    (node("Conv", "w", "b", pads=[0, 1, 2, 0], dilations=[1, 2]), 11,
     {"w": constant((3, 4, 3, 3)), "b": constant(3)}),
    (node("ConvTranspose", "w", "b", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 0]), 17,
     {"w": constant((4, 3, 3, 3)), "b": constant(3)}),
    (node("BatchNormalization", "s", "b", "m", "v", epsilon=1e-2), 17,
     {"s": constant(4), "b": constant(4), "m": constant(4), "v": np.ones(4, np.float32)}),
    (node("LayerNormalization", "s", axis=-1), 17, {"s": constant(8)}),
    (node("LayerNormalization", "s", "b", axis=2), 17,
     {"s": constant((6, 8)), "b": constant((6, 8))}),
    (node("PRelu", "s"), 17, {"s": constant((4, 1, 1))}),
    (node("PRelu", "s"), 17, {"s": constant((1,))}),
    (node("Clip", min=0.0, max=6.0), 10, {}),
    (node("Clip", "low"), 13, {"low": np.float32(0.25)}),
    (node("Clip", "", "high"), 13, {"high": np.float32(0.25)}),
    (node("HardSigmoid"), 17, {}),
    (node("HardSigmoid", alpha=1 / 6), 17, {}),
    (node("HardSwish"), 14, {}),
    (node("LeakyRelu"), 17, {}),
    (node("Elu"), 17, {}),
    (node("Gelu"), 20, {}),
    (node("Mish"), 18, {}),
    (node("Softmax", axis=1), 11, {}),
    (node("Softmax", axis=1), 13, {}),
    (node("Softmax"), 17, {}),
    (node("Max", "c"), 13, {"c": constant((1, 8))}),
    (node("Sum", "c", "x"), 13, {"c": constant((4, 1, 1))}),
    (node("Pow", "c"), 13, {"c": np.float32(2)}),
    (node("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]), 17, {}),
    (node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), 17, {}),
    (node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), 17, {}),
    (node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1), 17, {}),
    (node("GlobalMaxPool"), 17, {}),
    (node("ReduceMean", axes=[-1, 2], keepdims=0), 17, {}),
    (node("ReduceMean", "a"), 18, {"a": integers(1)}),
    (node("ReduceSum", axes=[2]), 11, {}),
    (node("ReduceSum", "a", keepdims=0), 13, {"a": integers(-1)}),
    (node("ReduceMax", keepdims=1), 17, {}),
    (node("Slice", starts=[1, -5], ends=[3, 2**40], axes=[1, 3]), 9, {}),
    (node("Slice", "s", "e", "a", "t"), 13,
     {"s": integers(0, 1), "e": integers(100, -1), "a": integers(-1, 1), "t": integers(3, 1)}),
    (node("Gather", "i", axis=1), 13, {"i": integers(3, -1, 0)}),
    (node("Gather", "i", axis=-1), 13, {"i": np.int64(2)}),
    (node("Pad", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=1.5), 9, {}),
    (node("Pad", "p", mode="reflect"), 13, {"p": integers(0, 0, 1, 2, 0, 0, 0, 1)}),
    (node("Pad", "p", "", "a"), 18, {"p": integers(1, 2, 0, 3), "a": integers(-1, 1)}),
    (node("Upsample", "s"), 9, {"s": np.array([1, 1, 2, 3], np.float32)}),
    (node("Resize", "s", mode="nearest"), 10, {"s": np.array([1, 1, 2, 1.5], np.float32)}),
    (node("Resize", "", "s", mode="linear"), 13, {"s": np.array([1, 1, 2, 0.5], np.float32)}),
    (node("Resize", "", "s", mode="linear"), 13, {"s": np.array([1, 1, 1.5, 1.625], np.float32)}),
    (node("Resize", "", "s", mode="linear", coordinate_transformation_mode="align_corners"), 13,
     {"s": np.array([1, 1, 1.3, 0.7], np.float32)}),
    (node("Resize", "", "", "n", mode="nearest"), 13, {"n": integers(2, 4, 12, 24)}),
    (node("Resize", "", "", "n", mode="linear", coordinate_transformation_mode="align_corners"), 13,
     {"n": integers(2, 4, 5, 11)}),
    (node("Reshape", "s"), 13, {"s": integers(0, -1, 2)}),
    (node("Flatten", axis=2), 13, {}),
    (node("Flatten", axis=-1), 13, {}),
    (node("Unsqueeze", axes=[0, 3]), 11, {}),
    (node("Unsqueeze", "a"), 13, {"a": integers(-1)}),
    (node("Transpose"), 13, {}),
    (node("DepthToSpace", blocksize=2), 13, {}),
    (node("DepthToSpace", blocksize=2, mode="CRD"), 13, {}),
    (node("SpaceToDepth", blocksize=2), 13, {}),
    (node("Dropout"), 11, {}),
    (node("MatMul", "w"), 13, {"w": constant((8, 5))}),
    (node("MatMul", "w"), 13, {"w": constant((4, 8, 5))}),
]  # fmt: skip


def label(value):
    return value.op_type if isinstance(value, onnx.NodeProto) else None


@pytest.mark.parametrize(("one", "opset", "initializers"), NODES, ids=label)
def test_every_operator_in_its_forms(one, opset, initializers):
    check(model_of([one], opset=opset, **initializers))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
@pytest.mark.parametrize(
    ("op_type", "settings"),
    [
        ("Conv", {"strides": [2, 3]}),
        ("ConvTranspose", {"strides": [2, 3]}),
        ("ConvTranspose", {"strides": [2, 1], "dilations": [1, 2]}),
        ("ConvTranspose", {"strides": [2, 2], "output_padding": [1, 0]}),
        ("ConvTranspose", {"strides": [2, 2], "output_shape": [12, 15]}),
        ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [3, 4], "strides": [2, 1]}),
        ("AveragePool", {"kernel_shape": [3, 4], "count_include_pad": 1}),
    ],
)
def test_automatic_padding_is_what_the_runtime_takes_it_for(auto_pad, op_type, settings):
    """The same node with the padding that was read computes the same."""
    names, weights = (
        ([], {}) if "kernel_shape" in settings else (["w"], {"w": constant((4, 4, 3, 4))})
    )
    automatic = model_of([node(op_type, *names, auto_pad=auto_pad, **settings)], **weights)
    (read,) = graph_of(automatic).graph.nodes
    window: Any = read.layer
    settings = {name: value for name, value in settings.items() if name != "output_shape"}
    stated = model_of([node(op_type, *names, pads=window.padding, **settings)], **weights)
    x = constant(IMAGE)
    expected, found = (
        onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
        for model in (automatic, stated)
    )
    assert read.output.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def test_splits_of_all_opsets():
    forms: list[tuple[int, dict[str, Any], list[str], dict[str, Any]]] = [
        (11, {"split": [1, 3]}, ["x"], {}),
        (13, {}, ["x", "sizes"], {"sizes": integers(3, 1)}),
        (13, {}, ["x"], {}),
        (18, {"num_outputs": 2}, ["x"], {}),
    ]
    for opset, attributes, inputs, initializers in forms:
        split = helper.make_node("Split", inputs, ["a", "b"], axis=1, **attributes)
        swap = helper.make_node("Concat", ["b", "a"], ["y"], axis=1)
        check(model_of([split, swap], opset=opset, **initializers))


def test_products_with_alpha_beta_and_a_scalar_bias():
    w = constant((3, 5))
    products: list[tuple[dict[str, float], dict[str, Any]]] = [
        ({"transB": 1, "alpha": 0.5, "beta": 2.0}, {"w": w, "b": constant(3)}),
        ({"transB": 0}, {"w": w.T.copy(), "b": constant((1, 3))}),
        ({"transB": 1}, {"w": w, "b": constant(1)}),
    ]
    for attributes, initializers in products:
        gemm = node("Gemm", "w", "b", **attributes)
        graph = check(model_of([gemm], (2, 5), **initializers))
        assert (graph.madds, graph.params) == (2 * 3 * 5, 18)


def constant_node(name, **value):
    return helper.make_node("Constant", [], [name], **value)


@pytest.mark.parametrize(
    "before",
    [
        [constant_node("s", value=numpy_helper.from_array(integers(2, 32, 6)))],
        [constant_node("s", value_ints=[2, 32, 6])],
        [helper.make_node("Shape", ["x"], ["whole"]),
         constant_node("two", value_ints=[0]),
         helper.make_node("Gather", ["whole", "two"], ["n"]),
         constant_node("rest", value_ints=[-1, 6]),
         helper.make_node("Concat", ["n", "rest"], ["joined"], axis=0),
         helper.make_node("Identity", ["joined"], ["s"])],
        [constant_node("f", value_floats=[2.0, 32.0, 6.0]),
         helper.make_node("Cast", ["f"], ["s"], to=TensorProto.INT64)],
        [constant_node("last", value_int=6),
         constant_node("front", value_ints=[0]),
         helper.make_node("Unsqueeze", ["last", "front"], ["tail"]),
         helper.make_node("Shape", ["x"], ["most"], end=2),
         helper.make_node("Concat", ["most", "tail"], ["wanted"], axis=0),
         constant_node("eights", value_ints=[1, 8, 1]),
         helper.make_node("Mul", ["wanted", "eights"], ["s"])],
    ],
    ids=["tensor", "integers", "from the shape", "cast", "one integer"],
)  # fmt: skip
def test_constants_however_they_are_written(before):
    graph = check(model_of([*before, node("Reshape", "s")]))
    assert [n.layer.shape for n in graph.nodes] == [(2, 32, 6)]


def sparse(values, places, shape, name="c"):
    return helper.make_sparse_tensor(
        numpy_helper.from_array(values, name), numpy_helper.from_array(places), shape
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"value_float": 2.5}, 2.5),
        ({"value_floats": [2.5]}, [2.5]),
        ({"value": helper.make_tensor("t", FLOAT, [2], [1.5, 2])}, [1.5, 2]),
        ({"value": helper.make_tensor("t", FLOAT, [1], b"\0\0\x20\x40", raw=True)}, [2.5]),
        ({"sparse_value": sparse(np.array([2.5], np.float32), integers(1), [2])}, [0, 2.5]),
    ],
)
def test_constant_nodes_in_every_form(value, expected):
    scaled = helper.make_node("Mul", ["x", "c"], ["y"])
    graph, weights = graph_of(model_of([constant_node("c", **value), scaled], (1, 2)))
    made: Any = graph.nodes[0].layer
    assert made.shape == np.shape(expected)
    found = weights["c.value"] if made.number is None else made.number
    np.testing.assert_array_equal(np.reshape(found, np.shape(expected)), expected)


def test_sparse_initializers_by_place_and_by_coordinates():
    for places in (integers(1, 2), np.array([[0, 1], [1, 0]])):
        model = model_of([node("MatMul", "c")], (1, 2))
        stored = sparse(np.array([5, 7], np.float32), places, [2, 2])
        model.graph.sparse_initializer.append(stored)
        weight = graph_of(model).weights["y.weight"]
        np.testing.assert_array_equal(weight, np.array([[0, 7], [5, 0]]))


def test_functions_of_the_file_are_read_where_they_are_called():
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    model = model_of([helper.make_node("Twice", ["x"], ["y"], domain="own")])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    assert [n.layer.operation.value for n in check(model).nodes] == ["add"]


def test_weights_behind_other_nodes_and_among_the_inputs():
    nodes = [
        helper.make_node("Transpose", ["w"], ["turned"], perm=[1, 0, 2, 3]),
        helper.make_node("Identity", ["turned"], ["same"]),
        node("Conv", "same"),
    ]
    model = model_of(nodes, w=constant((4, 3, 1, 1)))
    # before IR 4 every initializer was an input, too
    model.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [4, 3, 1, 1]))
    graph = check(model)
    assert [tensor.name for tensor in graph.inputs] == ["x"]
    assert graph.params == 12


def torch_export(module, shape, **settings):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter warns that it is the older one
        export: Any = torch.onnx.export  # its declared types leave out open files
        export(module, (torch.zeros(shape),), buffer, dynamo=False, **settings)
    return onnx.load_from_string(buffer.getvalue())


class Mixed(nn.Module):
    """Shuffled channels, dense connections, a residual, attention over pixels, interpolation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU()
        )
        self.grouped = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2)
        self.norm = nn.BatchNorm2d(16)
        self.query = nn.Linear(16, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.stem(x), 3, 2, 1, ceil_mode=True)
        n, c, h, w = x.shape
        shuffled = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = torch.cat([x, nn.functional.gelu(self.grouped(shuffled)) + x], 1)
        x = nn.functional.interpolate(torch.relu(self.norm(x)), scale_factor=2, mode="bilinear")
        pixels = x.flatten(2).transpose(1, 2)
        weights = (self.query(pixels) @ pixels.transpose(1, 2) / 4).softmax(-1)
        return self.head((weights @ pixels).mean(1))


@pytest.mark.parametrize("opset", [11, 13, 17, 20])
@pytest.mark.parametrize("fold", [True, False])
def test_a_network_of_many_kinds_as_torch_writes_it(opset, fold):
    mode = torch.onnx.TrainingMode
    module = Mixed().eval()
    model = torch_export(
        module,
        (2, 3, 33, 29),
        opset_version=opset,
        do_constant_folding=fold,
        training=mode.EVAL if fold else mode.PRESERVE,
    )
    graph = check(model)
    if not fold:
        assert math.isclose(graph.params, sum(p.numel() for p in module.parameters()), abs_tol=9)


def test_a_written_graph_is_read_back():
    module = Mixed().eval()
    graph, weights = graph_of(torch_export(module, (1, 3, 32, 32), opset_version=17))
    again = check(build_model(graph, weights))
    assert (again.madds, again.params) == (graph.madds, graph.params)


def test_open_axes_are_given_or_named():
    model = model_of([node("Relu")], ["n", 3, "h", 8])
    with pytest.raises(InvalidInputError, match=r"input 'x' has open axes: shape \[5, 3, 0, 8\]"):
        graph_of(model, batch_size=5)
    graph, _ = graph_of(model, shapes={"x": (1, 3, 6, 8)})
    assert graph.outputs[0].shape == (1, 3, 6, 8)
    graph, _ = graph_of(model_of([node("Relu")], ["n", 3, 6, 8]), batch_size=5)
    assert graph.outputs[0].shape == (5, 3, 6, 8)


def test_all_that_is_not_understood_is_named():
    nodes = [
        node("Det", output="a"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Sinh", ["x"], ["c"], name="first"),
        helper.make_node("Sinh", ["c"], ["d"], name="second"),
        helper.make_node("Swish", ["x"], ["e"], name="own", domain="custom"),
        helper.make_node("RandomNormal", [], ["r"], name="chance", shape=[1]),
        node("Sum", "b", "d", "e", "r"),
    ]
    reason = r"Det \(det\); RandomNormal \(chance\); Sinh \(first\); custom\.Swish \(own\)"
    with pytest.raises(InvalidInputError, match=reason):
        graph_of(model_of(nodes))


@pytest.mark.parametrize(
    ("one", "initializers", "reason"),
    [
        (node("Conv", "x"), {}, "conv': its input 1 is not a constant"),
        (node("Gelu", approximate="tanh"), {}, "gelu': an approximation"),
        (node("Elu", alpha=2.0), {}, "elu': alpha other than 1"),
        (node("Slice", "s", "e", "a", "t"),
         {"s": integers(5), "e": integers(0), "a": integers(3), "t": integers(-1)},
         "slice': a step backwards"),
        (node("Pad", "p", mode="wrap"), {"p": integers(*[0] * 8)}, "pad': mode wrap"),
        (node("Pad", "p"), {"p": integers(*[0] * 7, -1)}, "pad': a negative border"),
        (node("Resize", "", "", "n", mode="cubic"), {"n": integers(2, 4, 7, 9)},
         "resize': mode cubic"),
        (node("Resize", "", "s", mode="linear"), {"s": np.array([1, 1, 1.3, 2], np.float32)},
         "resize': a scale of 1.3 of 6 pixels"),
        (node("Resize", "", "s", mode="nearest", coordinate_transformation_mode="asymmetric",
              nearest_mode="floor"), {"s": np.array([1, 1, 2, 0.7], np.float32)},
         "resize': a scale of 0.7 of 8 pixels"),
        (node("PRelu", "s"), {"s": constant((1, 1, 8))}, "prelu': slopes of shape"),
        (node("Cast", to=TensorProto.FLOAT16), {}, "cast': float32 as float16"),
        (node("Conv", "w"), {"w": constant((2, 3, 1, 1))}, "conv': 4 channels"),
        (node("Conv", "w"), {"w": constant((3, 4))}, "conv': a window of 0 axes in"),
        (node("MatMul", "w"), {"w": constant((9, 5))}, r"matmul': \(2, 4, 6, 8\) times \(9, 5\)"),
        (node("Gemm", "w"), {"w": constant((8, 5))}, r"gemm': \(2, 4, 6, 8\) times \(8, 5\)"),
    ],
    ids=str,
)  # fmt: skip
def test_forms_of_known_operators_that_are_not_understood(one, initializers, reason):
    with pytest.raises(
        InvalidInputError, match=f"^{one.op_type} '?{reason}".replace("'?", "'?", 1)
    ):
        graph_of(model_of([one], opset=20, **initializers))


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([("Relu", ["x"], ["a"]), ("Identity", ["a"], ["a"]), ("Relu", ["a"], ["y"])],
         "Identity 'a' makes 'a', which there is already"),
        ([("Identity", ["a"], ["a"]), ("Relu", ["a"], ["y"])], "a tensor that nothing makes"),
        ([("Identity", ["a"], ["b"]), ("Identity", ["b"], ["a"]), ("Relu", ["a"], ["y"])],
         "Identity 'b' reads a tensor that nothing makes"),
        ([("Identity", ["w"], ["w"]), ("Mul", ["x", "w"], ["y"])], "Identity 'w' makes 'w'"),
        ([("Relu", ["x"], ["x"]), ("Relu", ["x"], ["y"])], "Relu 'x' makes 'x'"),
        ([("Relu", ["x"], ["y"]), ("Exp", ["x"], ["y"])], "Exp 'y' makes 'y'"),
    ],
)  # fmt: skip
def test_nodes_that_feed_themselves_end_in_an_error(nodes, reason):
    model = model_of([helper.make_node(*one) for one in nodes], w=constant(8))
    with pytest.raises(InvalidInputError, match=reason):
        graph_of(model)


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (node("Conv", "w", strides=[0, 1]), r"Conv 'conv': strides \[0, 1\]"),
        (node("Conv", "w", strides=[1]), r"Conv 'conv': strides \[1\]"),
        (node("Conv", "w", dilations=[1, -1]), r"Conv 'conv': dilations \[1, -1\]"),
        (node("Conv", "w", pads=[1]), r"Conv 'conv': pads \[1\]"),
        (node("Conv", "w", group=0), "Conv 'conv': 4 channels"),
        (node("Conv", "w", auto_pad=7), "Conv 'conv' is damaged"),
        (node("Conv", "w", auto_pad="SAME"), "Conv 'conv': automatic padding 'SAME'"),
        (node("MaxPool", kernel_shape=[0, 2]), "MaxPool 'maxpool': kernel"),
        (node("MaxPool"), "MaxPool 'maxpool' is damaged: 'kernel_shape'"),
        (node("Conv"), "Conv 'conv': its input 1 is not a constant"),
        (node("Conv", "half"), "Conv 'conv': a weight of float16 for a tensor of float32"),
        (node("Reshape", "zero"), "Reshape 'reshape'"),
        (node("Concat", axis=2**62), ""),
        (node("Clip", "w"), "Clip 'clip' is damaged"),
        (node("DepthToSpace", blocksize=0), "DepthToSpace 'depthtospace' is damaged"),
    ],
    ids=str,
)
def test_a_damaged_node_is_named(one, reason):
    model = model_of(
        [one],
        w=constant((3, 4, 1, 1)),
        half=constant((3, 4, 1, 1)).astype(np.float16),
        zero=integers(0, -1, 0, 0, 0),
    )
    if not reason:
        graph_of(model)  # an axis is taken modulo the rank
        return
    with pytest.raises(InvalidInputError, match=f"^{reason}"):
        graph_of(model)


@pytest.mark.parametrize(
    ("op_type", "values"),
    [
        ("ConstantOfShape", [integers(2**40, 2**20)]),
        ("Expand", [integers(1), integers(2**60)]),
        ("Tile", [integers(1, 2), integers(2**60)]),
        ("Range", [np.float32(0), np.float32(1e30), np.float32(1)]),
        ("Range", [np.float32(0), np.float32(1), np.float32(0)]),
        ("Div", [integers(1), integers(0)]),
        ("Reshape", [integers(1, 2), integers(7)]),
    ],
)
def test_constants_that_cannot_be_computed_are_named(op_type, values):
    names = [f"c{index}" for index in range(len(values))]
    nodes = [
        helper.make_node(op_type, names, ["c"], name="many"),
        helper.make_node("Cast", ["c"], ["f"], to=FLOAT),
        node("Add", "f"),
    ]
    if op_type == "Div":  # numpy divides whole numbers by 0, with a warning
        graph_of(model_of(nodes, **dict(zip(names, values, strict=True))))
        return
    with pytest.raises(InvalidInputError, match=f"^{op_type} 'many'"):
        graph_of(model_of(nodes, **dict(zip(names, values, strict=True))))


def without_values(model, as_inputs):
    """As exporters write a network's form alone."""
    for tensor in model.graph.initializer:
        if as_inputs:
            model.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
        tensor.ClearField("raw_data")
    if as_inputs:
        del model.graph.initializer[:]
    return model


@pytest.mark.parametrize("as_inputs", [True, False])
def test_a_form_without_weights_is_read_where_they_are_not_needed(as_inputs):
    nodes = [
        helper.make_node("Identity", ["b"], ["c"]),
        helper.make_node("Conv", ["x", "w", "c"], ["h"], name="conv"),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    model = model_of(nodes, w=constant((3, 4, 1, 1)), b=constant(3))
    expected = graph_of(model).graph
    model = without_values(model, as_inputs)
    assert graph_of(model, needs_weights=False).graph == expected
    reason = "Conv 'conv': its input 1" if as_inputs else "tensor 'w' has no data"
    with pytest.raises(InvalidInputError, match=reason):
        graph_of(model)


def test_numbers_that_decide_a_form_are_never_made_up():
    model = model_of([node("Reshape", "s")], s=integers(2, 192))
    model.graph.initializer[0].ClearField("raw_data")
    with pytest.raises(InvalidInputError, match="tensor 's' has no data"):
        graph_of(model, needs_weights=False)


def test_old_files_are_refused_by_their_opset():
    with pytest.raises(InvalidInputError, match="opset 6; 7 and later"):
        graph_of(model_of([node("Relu")], opset=6))


@pytest.mark.parametrize(
    ("entry", "value", "reason"),
    [
        ("location", "../../etc/hostname", "outside the directory"),
        ("location", "/etc/hostname", "an absolute path"),
        ("location", "", "should not be empty"),
        ("offset", "-1", "non-negative"),
        ("offset", "9" * 5000, "digits"),
        ("length", "many", "invalid literal"),
    ],
)
@pytest.mark.parametrize("of_node", [True, False])
def test_data_elsewhere_are_refused_in_their_own_words(tmp_path, entry, value, reason, of_node):
    tensor = numpy_helper.from_array(constant(8), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = {"location": "w.data", "offset": "0", "length": "32"} | {entry: value}
    (tmp_path / "w.data").write_bytes(bytes(32))
    for key, text in places.items():
        tensor.external_data.add(key=key, value=text)
    add = node("Add", "w")
    model = model_of([constant_node("w", value=tensor), add] if of_node else [add])
    if not of_node:
        model.graph.initializer.append(tensor)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInputError, match=f"cannot read weights of .*{reason}") as refused:
        read_onnx(path)
    assert "\n" not in str(refused.value)


def test_files(tmp_path):
    model = model_of([node("Conv", "w")], w=constant((300, 4, 1, 1)))
    path = tmp_path / "net.onnx"
    onnx.save_model(model, path, save_as_external_data=True, size_threshold=0, location="net.data")
    read = read_onnx(path)
    np.testing.assert_array_equal(
        read.weights["y.weight"], numpy_helper.to_array(model.graph.initializer[0], str(tmp_path))
    )
    (tmp_path / "net.data").write_bytes(b"cut off")
    with pytest.raises(InvalidInputError, match=r"weights of .*net\.onnx: .*exceeds available"):
        read_onnx(path)
    (tmp_path / "net.data").unlink()
    with pytest.raises(InvalidInputError, match=r"weights of .*net\.onnx: .*w\).*net\.data"):
        read_onnx(path)
    path.write_bytes(b"\xff\x00 not a model")
    with pytest.raises(InvalidInputError, match="is not an ONNX model"):
        read_onnx(path)
    with pytest.raises(InvalidInputError, match="No such file"):
        read_onnx(tmp_path / "absent.onnx")
    path.write_bytes(b"")
    with pytest.raises(InvalidInputError, match="0 inputs and 0 outputs"):
        read_onnx(path)
