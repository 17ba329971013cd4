"""Networks written in several ways are read back as the ops they were made of."""

import io
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from profiler.devices.base import Workload
from profiler.errors import InvalidInputError
from profiler.graph.from_onnx import graph_of
from profiler.graph.to_onnx import build_model
from profiler.graph.to_torch import randomise_
from profiler.graph.weights import random_weights
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_network import Network
from profiler.spaces.mobilenetv3_ops import OpActivation, OpConfig, OpKind
from profiler.spaces.mobilenetv3_reader import read_onnx_ops, split_graph

SMALL = MobileNetV3Space("mbv3-cifar", 1.0, 32)


def network_ops(space=SMALL, seed=0):
    return space.ops(space.decode(space.sample(1, np.random.default_rng(seed))[0]))


def split_model(model, batch_size=1, resolution_px=None):
    graph = graph_of(model, batch_size=batch_size, resolution_px=resolution_px).graph
    return split_graph(graph, resolution_px=resolution_px)


def written(ops):
    graph = Workload("network", tuple(ops)).graph
    return build_model(graph, random_weights(graph, np.random.default_rng(0)))


def torch_export(module, ops, **settings):
    image = torch.zeros(1, ops[0].in_channels, ops[0].height_px, ops[0].width_px)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter warns that it is the older one
        export: Any = torch.onnx.export  # its declared types leave out open files
        export(module, (image,), buffer, dynamo=False, **settings)
    return onnx.load_from_string(buffer.getvalue())


@settings(max_examples=10, deadline=None)
@given(
    name_width_px=st.sampled_from(
        [("mbv3", 1.0, 224), ("mbv3", 1.2, 131), ("mbv3", 1.0, 160), ("mbv3-cifar", 1.2, 32)]
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_we_write_is_read_back(name_width_px, seed):
    ops = network_ops(MobileNetV3Space(*name_width_px), seed)
    assert split_model(written(ops)) == ops


def test_batches_are_read_or_given():
    ops = [replace(op, batch_size=4) for op in network_ops()]
    model = written(ops)
    assert split_model(model) == ops
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    assert split_model(model, batch_size=2) == [replace(op, batch_size=2) for op in ops]


@pytest.mark.parametrize(
    "settings",
    [
        {"opset_version": 13},  # HardSigmoid · x
        {"opset_version": 17},
        {"opset_version": 20},  # axes as an input
        {"opset_version": 17, "training": torch.onnx.TrainingMode.PRESERVE},  # BatchNorm kept
        {"opset_version": 14, "input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}},
    ],
)
def test_torch_exports_are_read(settings):
    ops = network_ops()
    network = randomise_(Network(ops), seed=0)
    assert split_model(torch_export(network, ops, **settings)) == ops


class ArithmeticSwish(nn.Module):
    """x · relu6(x + 3) / 6, in the order that `form` says."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x):
        gate = torch.clamp(x + 3, 0, 6)
        match self.form:
            case "product first":
                return x * gate / 6
            case "gate first":
                return gate / 6 * x
            case "multiplied by a sixth":
                return x * (gate * (1 / 6))


class ArithmeticSigmoid(nn.Module):
    def forward(self, x):
        return torch.clamp(3 + x, 0, 6) / 6


def replaced(module, kind, make):
    for name, child in module.named_children():
        if isinstance(child, kind):
            setattr(module, name, make())
        else:
            replaced(child, kind, make)
    return module


@pytest.mark.parametrize("form", ["product first", "gate first", "multiplied by a sixth"])
def test_activations_written_as_arithmetic_are_read(form):
    ops = network_ops()
    network = randomise_(Network(ops), seed=0)
    replaced(network, nn.Hardswish, lambda: ArithmeticSwish(form))
    replaced(network, nn.Hardsigmoid, ArithmeticSigmoid)
    model = torch_export(network, ops, opset_version=17)
    assert not {"HardSwish", "HardSigmoid"} & {node.op_type for node in model.graph.node}
    assert split_model(model) == ops


def test_other_networks_of_the_same_kinds_are_read():
    """Not of the space: other widths, a plain convolution in the middle, no feature mixing."""
    relu, swish = OpActivation.RELU, OpActivation.HARD_SWISH
    ops = [
        OpConfig(OpKind.CONV, 3, 8, 40, 48, kernel=3, stride=2, activation=relu),
        OpConfig(OpKind.CONV, 8, 12, 20, 24, kernel=5, stride=1, activation=OpActivation.NONE),
        OpConfig(OpKind.MBCONV, 12, 12, 20, 24, 12, 3, 2, True, relu),
        OpConfig(OpKind.MBCONV, 12, 12, 10, 12, 30, 7, 1, False, swish),
        OpConfig(OpKind.CONV_1, 12, 20, 10, 12, activation=relu),
        OpConfig(OpKind.AVG_POOL, 20, 20, 10, 12),
        OpConfig(OpKind.LOGITS, 20, 7, 1, 1),
    ]
    assert split_model(written(ops)) == ops


def test_a_pooling_of_the_whole_image_is_global_and_a_smaller_one_is_not():
    ops = network_ops()
    model = written(ops)
    pool = next(n for n in reversed(model.graph.node) if n.op_type == "GlobalAveragePool")
    pool.op_type = "AveragePool"
    pool.attribute.append(helper.make_attribute("kernel_shape", [4, 4]))
    assert split_model(model) == ops
    pool.attribute[0].ints[:] = [2, 2]
    pool.attribute.append(helper.make_attribute("strides", [3, 3]))
    with pytest.raises(InvalidInputError, match="pools 2 px of a 4x4 image"):
        split_model(model)


def with_node(op_type):
    model = written(network_ops())
    model.graph.node.append(helper.make_node(op_type, ["output"], ["y"], name="added"))
    model.graph.output[0].name = "y"
    return model


def test_unknown_ops_are_named_all_of_them():
    """First those that no network may hold, then those that are no part of an op."""
    model = with_node("Softmax")
    first = model.graph.node[0]
    first.input[0] = "bigger"
    resize = helper.make_node("Resize", ["input"], ["bigger"], name="resize", domain="custom")
    model.graph.node.insert(0, resize)
    with pytest.raises(InvalidInputError, match=r"not known: custom\.Resize \(resize\)"):
        split_model(model)
    pool = helper.make_node("MaxPool", ["input"], ["bigger"], name="pool", kernel_shape=[1, 1])
    model.graph.node[0].CopyFrom(pool)
    with pytest.raises(InvalidInputError, match=r"MaxPool \(pool\); Softmax \(added\)"):
        split_model(model)


def test_known_ops_out_of_place_are_named():
    with pytest.raises(InvalidInputError, match="Clip 'added': not part of a known op"):
        split_model(with_node("Clip"))


@pytest.mark.parametrize("op_type", ["Relu", "Sinh"])
def test_a_node_that_nobody_reads_is_left_out_as_by_every_runtime(op_type):
    model = written(network_ops())
    model.graph.node.append(helper.make_node(op_type, ["op0.conv"], ["nowhere"], name="stray"))
    assert split_model(model) == network_ops()


def altered(model, node_name, **attributes):
    node = next(n for n in model.graph.node if n.name == node_name)
    for name, value in attributes.items():
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])
    return model


@pytest.mark.parametrize(
    ("node", "attributes", "message"),
    [
        ("op0.conv", {"dilations": [2, 2]}, "no dilation"),
        ("op0.conv", {"pads": [0, 0, 0, 0]}, "padding of half the kernel"),
        ("op0.conv", {"strides": [1, 2]}, "equal strides"),
        ("op0.act", {"alpha": 1.0}, None),
    ],
)
def test_convolutions_that_cost_otherwise_are_refused(node, attributes, message):
    model = altered(written(network_ops()), node, **attributes)
    if message is None:
        assert split_model(model) == network_ops()
    else:
        with pytest.raises(InvalidInputError, match=message):
            split_model(model)


def test_an_even_kernel_is_refused():
    """Half its size as padding makes the image grow, which no op of a table does."""
    model = written(network_ops())
    weight = next(t for t in model.graph.initializer if t.name == "op0.conv.weight")
    array = numpy_helper.to_array(weight)[:, :, :2, :2].copy()
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    model = altered(model, "op0.conv", pads=[1, 1, 1, 1], kernel_shape=[2, 2])
    with pytest.raises(InvalidInputError, match="only odd square kernels"):
        split_model(model)


def test_a_missing_shortcut_and_another_excitation_are_refused():
    block = OpConfig(OpKind.MBCONV, 8, 8, 16, 16, 24, 3, 1, True, OpActivation.RELU)
    model = written([block])
    add = model.graph.node.pop()
    model.graph.node[-1].output[0] = add.output[0]
    with pytest.raises(InvalidInputError, match="an inverted residual without shortcut"):
        split_model(model)
    narrow = written([block])
    for tensor in narrow.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if "reduce" in tensor.name:
            tensor.CopyFrom(numpy_helper.from_array(array[:4].copy(), tensor.name))
        elif "fc.expand.weight" in tensor.name:
            tensor.CopyFrom(numpy_helper.from_array(array[:, :4].copy(), tensor.name))
    with pytest.raises(InvalidInputError, match="squeeze-and-excitation of 4 channels; known: 8"):
        split_model(narrow)


def test_files_that_are_no_models_are_refused_in_one_line(tmp_path):
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\xff\x00 not a model")
    with pytest.raises(InvalidInputError, match="is not an ONNX model"):
        read_onnx_ops(garbage)
    with pytest.raises(InvalidInputError, match="No such file"):
        read_onnx_ops(tmp_path / "absent.onnx")
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    with pytest.raises(InvalidInputError, match="0 inputs and 0 outputs"):
        read_onnx_ops(empty)
    circle = helper.make_graph(
        [
            helper.make_node("Identity", ["b"], ["a"]),
            helper.make_node("Identity", ["a"], ["b"]),
        ],
        "circle",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    with pytest.raises(InvalidInputError, match="reads a tensor that nothing makes"):
        split_model(helper.make_model(circle))


def test_a_model_that_is_damaged_inside_is_refused(tmp_path):
    model = written([OpConfig(OpKind.CONV_1, 8, 8, 4, 4)])
    bias = next(t for t in model.graph.initializer if len(t.dims) == 1)
    bias.raw_data = bias.raw_data[:-4]
    (tmp_path / "damaged.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInputError, match=f"tensor '{bias.name}' is damaged"):
        read_onnx_ops(tmp_path / "damaged.onnx")


def test_an_image_of_open_size_is_refused():
    model = written(network_ops())
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(InvalidInputError, match="expected a batch of images of fixed size"):
        split_model(model)


@pytest.mark.parametrize("suffix", ["json", "textproto", "onnxtxt", "onnx"])
def test_a_file_that_is_no_model_is_refused_whatever_its_suffix(tmp_path, suffix):
    path = tmp_path / f"net.{suffix}"
    path.write_text('{"truncated": ')
    with pytest.raises(InvalidInputError, match="is not an ONNX model"):
        read_onnx_ops(path)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_any_input_of_a_convolution_may_come_through_identities(index):
    """Weights and biases, too: exporters write tensors once that several layers share."""
    model = written(network_ops())
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    aliases = [
        helper.make_node("Identity", [conv.input[index]], ["alias1"]),
        helper.make_node("Identity", ["alias1"], ["alias2"]),
    ]
    conv.input[index] = "alias2"
    for alias in reversed(aliases):
        model.graph.node.insert(0, alias)
    assert split_model(model) == network_ops()


def test_weights_of_a_kept_norm_may_come_through_identities():
    ops = network_ops()
    settings = {"opset_version": 17, "training": torch.onnx.TrainingMode.PRESERVE}
    model = torch_export(randomise_(Network(ops), seed=0), ops, **settings)
    norm = next(n for n in model.graph.node if n.op_type == "BatchNormalization")
    for index in range(1, 5):
        alias = helper.make_node("Identity", [norm.input[index]], [f"alias{index}"])
        norm.input[index] = f"alias{index}"
        model.graph.node.insert(0, alias)
    assert split_model(model) == ops


def with_arithmetic_swish(constant):
    """The network with every hard-swish as x · clip(x + 3, 0, 6) / 6; a constant is
    `constant(value, name)`: an initializer, or the node that makes it."""
    model = written(network_ops())
    nodes: list[onnx.NodeProto] = []
    for value, name in ((0.0, "zero"), (3.0, "three"), (6.0, "six")):
        made = constant(value, name)
        (model.graph.initializer if isinstance(made, TensorProto) else nodes).append(made)
    for node in model.graph.node:
        if node.op_type == "HardSwish":
            (x,), (y,) = node.input, node.output
            nodes += [
                helper.make_node("Add", [x, "three"], [f"{y}.shifted"]),
                helper.make_node("Clip", [f"{y}.shifted", "zero", "six"], [f"{y}.clipped"]),
                helper.make_node("Mul", [x, f"{y}.clipped"], [f"{y}.product"]),
                helper.make_node("Div", [f"{y}.product", "six"], [y]),
            ]
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize(
    "constant",
    [
        lambda value, name: helper.make_node("Constant", [], [name], value_float=value),
        lambda value, name: helper.make_node(
            "Constant", [], [name], value=numpy_helper.from_array(np.array(value, np.float32))
        ),
        lambda value, name: numpy_helper.from_array(np.full((1, 1, 1, 1), value, np.float32), name),
    ],
    ids=["value_float", "value", "initializer"],
)
def test_constants_of_arithmetic_are_read_in_each_way_that_the_format_has(constant):
    assert split_model(with_arithmetic_swish(constant)) == network_ops()


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_automatic_padding_is_read(auto_pad):
    model = written(ops := network_ops())
    for node in model.graph.node:
        if node.op_type == "Conv":
            kept = [a for a in node.attribute if a.name != "pads"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("auto_pad", auto_pad)])
    assert split_model(model) == ops


@pytest.mark.parametrize("at", ["conv.depth_conv.act", "conv.inverted_bottleneck.act"])
def test_an_unknown_activation_in_a_block_with_a_shortcut_is_what_is_named(at):
    """Not the addition, which is as it should be."""
    block = OpConfig(OpKind.MBCONV, 8, 8, 16, 16, 24, 3, 1, False, OpActivation.RELU)
    model = written([block])
    node = next(n for n in model.graph.node if n.name.endswith(at))
    bounds = [
        numpy_helper.from_array(np.array(v, np.float32), n) for v, n in ((0, "zero"), (6, "six"))
    ]
    model.graph.initializer.extend(bounds)
    node.op_type, node.name = "Clip", "relu6"
    node.input.extend(["zero", "six"])
    with pytest.raises(InvalidInputError, match=r"^Clip 'relu6': not part of a known op"):
        split_model(model)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_networks_of_other_precision_are_refused(dtype):
    model = written(network_ops())
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = element
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(dtype)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    with pytest.raises(InvalidInputError, match=f"of {dtype}, the table of float32 networks"):
        split_model(model)
    graph = graph_of(model).graph
    assert split_graph(graph, precision=dtype) == network_ops()


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_networks_of_full_precision_are_not_those_of_a_table_of_less(precision):
    model = written(network_ops())
    with pytest.raises(InvalidInputError, match=f"of float32, the table of {precision} networks"):
        split_graph(graph_of(model).graph, precision=precision)
    assert split_graph(graph_of(model).graph, precision="tf32") == network_ops()


def test_a_network_without_weights_is_predicted_like_one_with(tmp_path):
    model = written(network_ops())
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            tensor.ClearField("raw_data")
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    assert read_onnx_ops(path) == network_ops()


def test_what_torch_exports_without_parameters_is_read():
    ops = network_ops()
    model = torch_export(randomise_(Network(ops), seed=0), ops, export_params=False)
    graph = graph_of(model, needs_weights=False).graph
    assert split_graph(graph) == ops


@pytest.mark.parametrize("size", [{"dim_param": "pixels"}, {"dim_value": -1}])
def test_an_image_of_open_size_gets_the_resolution_that_is_asked_for(size):
    model = written(network_ops())
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for axis in (2, 3):
        dims[axis].CopyFrom(onnx.TensorShapeProto.Dimension(**size))
    with pytest.raises(InvalidInputError, match="expected a batch of images of fixed size"):
        split_model(model)
    assert split_model(model, resolution_px=32) == network_ops()


def test_an_image_of_another_size_than_asked_for_is_refused():
    reason = "the file fixes an image of 32x32 px; 64 px was asked for"
    with pytest.raises(InvalidInputError, match=reason):
        split_model(written(network_ops()), resolution_px=64)


class Head(nn.Module):
    """A network whose pooling and classifier are written as `form` says."""

    def __init__(self, network, form):
        super().__init__()
        self.network, self.form = network, form

    def forward(self, x):
        *body, _, mix, classifier = self.network.op_modules()
        for module in body:
            x = module(x)
        linear = classifier.linear
        match self.form:
            case "mean, product and sum":
                mixed = mix(x.mean([2, 3], keepdim=True))
                return mixed.flatten(1) @ linear.weight.T + linear.bias
            case "mean without axes, view":
                mixed = mix(x.mean([2, 3])[:, :, None, None])
                return linear(mixed.view(mixed.size(0), -1))
            case "pool of the image's size, squeezed":
                return linear(mix(nn.functional.avg_pool2d(x, 4)).squeeze(3).squeeze(2))


@pytest.mark.parametrize(
    "form",
    ["mean, product and sum", "mean without axes, view", "pool of the image's size, squeezed"],
)
@pytest.mark.parametrize("axes", [None, {"x": {0: "n"}}], ids=["batch of 1", "open batch"])
def test_pooling_and_classifier_are_read_in_several_forms(form, axes):
    ops = network_ops()
    head = Head(randomise_(Network(ops), seed=0), form)
    model = torch_export(head, ops, opset_version=17, input_names=["x"], dynamic_axes=axes)
    assert split_model(model) == ops
