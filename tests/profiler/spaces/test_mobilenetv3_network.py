"""torch is the oracle: every exported op and network must compute what the torch module does."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from profiler.devices.base import Workload
from profiler.graph.folding import fold
from profiler.graph.to_onnx import build_model, export_onnx
from profiler.graph.to_torch import GraphModule, randomise_, weights_of
from profiler.graph.weights import random_weights
from profiler.spaces.mobilenetv3 import MobileNetV3Space, open_space
from profiler.spaces.mobilenetv3_network import Network


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def run_onnx(model: bytes, images: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"input": images})
    return np.asarray(output)


def spread(ops):
    """Each kind, stride, activation, SE and shortcut once; all kernels and expands occur."""
    chosen = {}
    for index, op in enumerate(ops.values()):
        chosen[op.kind, op.stride, op.activation, op.se, op.has_shortcut, index % 2] = op
    return list(chosen.values())


@pytest.mark.parametrize(
    "op",
    spread(MobileNetV3Space(resolution_px=131).distinct_ops(batch_size=2)),
    ids=lambda o: o.key,
)
def test_an_exported_op_equals_the_torch_op(op):
    module = randomise_(GraphModule(op.graph), seed=3)
    images = (
        np.random.default_rng(0)
        .normal(size=(2, op.in_channels, op.height_px, op.width_px))
        .astype(np.float32)
    )
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    exported = export_onnx(op.graph, weights_of(module, op.graph))
    assert relative_difference(run_onnx(exported, images), expected) < 1e-5


@pytest.mark.parametrize(
    "space", [MobileNetV3Space(), MobileNetV3Space(width_mult=1.2, resolution_px=160),
              open_space("mbv3-cifar")], ids=str,
)  # fmt: skip
def test_exported_networks_equal_the_torch_networks(space):
    for seed, row in enumerate(space.sample(2, np.random.default_rng(7))):
        network = randomise_(Network(space.ops(space.decode(row))), seed=seed)
        shape = (1, 3, space.resolution_px, space.resolution_px)
        images = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).numpy()
        exported = export_onnx(network.as_graph(), network.weights())
        assert expected.shape == (1, space.backbone.n_classes)
        assert relative_difference(run_onnx(exported, images), expected) < 1e-5


def test_torch_counts_the_same_parameters():
    space = MobileNetV3Space(width_mult=1.2)
    for arch in space.extremes():
        network = Network(space.ops(arch))
        assert sum(p.numel() for p in network.parameters()) == space.params(arch)


def test_torch_counts_the_same_madds():
    from torch.utils.flop_counter import FlopCounterMode

    space = MobileNetV3Space(resolution_px=128)
    arch = space.decode(space.sample(1, np.random.default_rng(5))[0])
    network = Network(space.ops(arch)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 128, 128))
    assert counter.get_total_flops() == 2 * space.madds(arch)  # torch counts a MAdd as two


def test_random_weights_are_float32_of_the_declared_shapes():
    rng = np.random.default_rng(0)
    for op in MobileNetV3Space().distinct_ops().values():
        for graph in (op.graph, fold(op.graph)):
            random = random_weights(graph, rng)
            assert {name: a.shape for name, a in random.items()} == graph.weight_shapes
            assert all(a.dtype == np.float32 for a in random.values())
            assert all((a > 0).all() for name, a in random.items() if "running_var" in name)


def test_the_model_is_valid_onnx_with_the_stated_input_and_output():
    space = MobileNetV3Space()
    ops = space.ops(space.extremes()[0], batch_size=4)
    rng = np.random.default_rng(0)
    graph = Workload("network", tuple(ops)).graph
    model = build_model(graph, random_weights(graph, rng))
    onnx.checker.check_model(model, full_check=True)
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    out = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    assert (model.graph.input[0].name, dims) == ("input", [4, 3, 224, 224])
    assert (model.graph.output[0].name, out) == ("output", [4, 1000])
