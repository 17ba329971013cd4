"""A workload as a model with random weights and an input, for every runtime.

The key seeds both: the same workload is the same model in every run and on every device.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from profiler.devices.base import Workload
from profiler.graph.onnx_writer import export_onnx
from profiler.graph.tflite_writer import Precision, export_tflite
from profiler.graph.weights import random_weights

if TYPE_CHECKING:
    import torch

N_CALIBRATION_IMAGES = 2  # weights are random: ranges need the right order of magnitude only


def seed_of(workload: Workload) -> int:
    return zlib.crc32(workload.key.encode())


def seeded_onnx(workload: Workload) -> bytes:
    """An ONNX model; its input ``input`` is that of `seeded_image`."""
    rng = np.random.default_rng(seed_of(workload))
    return export_onnx(workload.ops, [random_weights(op, rng) for op in workload.ops])


def seeded_tflite(workload: Workload, precision: Precision) -> bytes:
    """A TFLite model; its input is that of `seeded_image` with channels last."""
    rng = np.random.default_rng(seed_of(workload))
    weights = [random_weights(op, rng) for op in workload.ops]
    images = None
    if precision == "int8":
        first = workload.ops[0]
        shape = (N_CALIBRATION_IMAGES, first.height_px, first.width_px, first.in_channels)
        images = rng.standard_normal(shape, dtype=np.float32)
    return export_tflite(workload.ops, weights, precision=precision, calibration_images=images)


def seeded_module(workload: Workload) -> torch.nn.Module:
    """A torch module in inference mode, BatchNorm not folded."""
    import torch

    from profiler.graph.network import op_module, randomise_

    network = torch.nn.Sequential(*map(op_module, workload.ops))
    return randomise_(network, seed=seed_of(workload))


def seeded_image(workload: Workload) -> NDArray[np.float32]:
    """Its input [n, c, h, w], standard normal."""
    first = workload.ops[0]
    shape = (first.batch_size, first.in_channels, first.height_px, first.width_px)
    rng = np.random.default_rng([seed_of(workload), 1])  # not the numbers that the weights are
    return rng.standard_normal(shape, dtype=np.float32)
