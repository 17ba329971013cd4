"""Small ONNX files for tests."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def tensor(name, shape, element=FLOAT):
    return helper.make_tensor_value_info(name, element, shape)


def write_onnx(path: Path, nodes, inputs, outputs, weights=(), *, opset: int = 17) -> Path:
    graph = helper.make_graph(
        nodes, "graph", inputs, outputs,
        [numpy_helper.from_array(array, name) for name, array in weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(path))
    return path


def convolution(path: Path, *, axes=(1, 3, 16, 16), channels: int = 8, seed: int = 0) -> Path:
    """Conv 3x3 and ReLU, an image in and a map out."""
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((channels, axes[1], 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["map"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["map"], ["out"], "relu"),
    ]
    shape = [axes[0], channels, *axes[2:]]
    return write_onnx(
        path, nodes, [tensor("image", list(axes))], [tensor("out", shape)], [("kernel", kernel)]
    )
