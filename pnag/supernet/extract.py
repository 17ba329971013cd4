"""One subnet as a standalone network with weights, checked against the supernet, in files."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from pnag.supernet.data import Dataset, normalise
from pnag.supernet.elastic import ElasticMobileNetV3
from pnag.supernet.evaluate import SubnetEvaluator
from pnag.supernet.supernet import Supernet
from profiler.errors import InvalidInputError, PnagError
from profiler.spaces.export import export_network
from profiler.spaces.row_network import RowNetwork
from profiler.system.atomic import write_bytes_atomic

TOLERANCE = 1e-4  # relative; float32 rounding over 20 blocks is near 1e-6
INT8_CALIBRATION_IMAGES = 64


@dataclass(frozen=True)
class Extracted:
    """What was written.

    Attributes:
        difference: from the supernet's own logits, relative; None where it only holds weights.
        top1: of the float32 network, None without data.
    """

    arch: str
    files: list[Path]
    difference: float | None
    top1: float | None


def extract_subnet(
    supernet: Supernet,
    arch: str,
    evaluator: SubnetEvaluator | None,
    formats: tuple[str, ...],
    folder: Path,
    *,
    calibration: Dataset | None = None,
) -> Extracted:
    """Write `arch` with its weights as `folder/subnet.*`.

    BatchNorm is recalibrated by `evaluator`; without one it keeps the supernet's statistics,
    which fit no subnet well. With `calibration`, an int8 TFLite model is written as well.

    Raises:
        PnagError: the standalone network does not compute what the supernet does.
    """
    network, difference = supernet.network(arch), None
    if isinstance(supernet, ElasticMobileNetV3):
        difference = relative_difference(supernet, network, arch)
        if not difference < TOLERANCE:
            raise PnagError(f"the extracted network differs from the supernet by {difference:.1e}")
    top1 = None
    if evaluator is not None:
        network.to(evaluator.device)
        evaluator.recalibrate(network)
        top1 = evaluator.top1(network)
    cast(Any, network).to("cpu", memory_format=torch.contiguous_format)
    files = export_network(
        network, supernet.space.parse(arch), supernet.space, formats, folder, stem="subnet"
    )
    if calibration is not None:
        files.append(_export_int8(network, supernet, calibration, folder))
    return Extracted(arch, files, difference, top1)


@torch.no_grad()
def relative_difference(supernet: ElasticMobileNetV3, network: RowNetwork, arch: str) -> float:
    """Largest difference of the logits on random images, relative to the largest logit.

    Computed on the CPU: a GPU may use TF32, which rounds more than `TOLERANCE`.
    """
    side = supernet.space.resolution_px
    noise = np.random.default_rng(0).normal(size=(2, 3, side, side)).astype(np.float32)
    images = torch.from_numpy(noise)
    expected = _on_cpu(supernet).eval()(images, supernet.space.parse_architecture(arch))
    return float((_on_cpu(network)(images) - expected).abs().max() / expected.abs().max())


def _on_cpu(module: nn.Module) -> nn.Module:
    if next(module.parameters()).device.type == "cpu":
        return module
    return copy.deepcopy(module).cpu()


def _export_int8(
    network: RowNetwork, supernet: Supernet, calibration: Dataset, folder: Path
) -> Path:
    from profiler.graph.to_tflite import export_tflite

    n = min(INT8_CALIBRATION_IMAGES, len(calibration.train.labels))
    if not n:
        raise InvalidInputError("int8 export needs training images")
    indices = np.random.default_rng(0).permutation(len(calibration.train.labels))[:n]
    images = normalise(calibration.train.plain(indices), supernet.space)
    data = export_tflite(
        network.as_graph(),
        network.weights(),
        precision="int8",
        calibration_images=images.permute(0, 2, 3, 1).contiguous().numpy(),
    )
    path = folder / "subnet.int8.tflite"
    write_bytes_atomic(path, data)
    return path
