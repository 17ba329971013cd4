"""A workload as a model with random weights and an input, for every runtime.

The key seeds both: the same workload is the same model in every run and on every device.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from profiler.devices.base import Workload
from profiler.graph.folding import fold
from profiler.graph.to_onnx import export_onnx
from profiler.graph.to_tflite import Precision, export_tflite
from profiler.graph.weights import random_weights

if TYPE_CHECKING:
    from profiler.graph.to_torch import GraphModule

N_CALIBRATION_IMAGES = 2  # weights are random: ranges need the right order of magnitude only


def seed_of(workload: Workload) -> int:
    return zlib.crc32(workload.key.encode())


def seeded_onnx(workload: Workload) -> bytes:
    """An ONNX model; its input ``input`` is that of `seeded_image`."""
    graph = fold(workload.graph)
    return export_onnx(graph, random_weights(graph, np.random.default_rng(seed_of(workload))))


def seeded_tflite(workload: Workload, precision: Precision) -> bytes:
    """A TFLite model; its input is that of `seeded_image` with channels last."""
    rng = np.random.default_rng(seed_of(workload))
    graph = fold(workload.graph)
    weights = random_weights(graph, rng)
    images = None
    if precision == "int8":
        _, channels, height, width = graph.inputs[0].shape
        shape = (N_CALIBRATION_IMAGES, height, width, channels)
        images = rng.standard_normal(shape, dtype=np.float32)
    return export_tflite(graph, weights, precision=precision, calibration_images=images)


def seeded_module(workload: Workload) -> GraphModule:
    """A torch module in inference mode, BatchNorm not folded."""
    from profiler.graph.to_torch import GraphModule, randomise_

    return randomise_(GraphModule(workload.graph), seed=seed_of(workload))


def seeded_image(workload: Workload) -> NDArray[np.float32]:
    """Its input [n, c, h, w], standard normal."""
    shape = workload.ops[0].graph.inputs[0].shape
    rng = np.random.default_rng([seed_of(workload), 1])  # not the numbers that the weights are
    return rng.standard_normal(shape, dtype=np.float32)
