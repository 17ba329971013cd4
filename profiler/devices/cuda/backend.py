"""NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from profiler.devices.backend import Backend, DeviceStatus, Settings
from profiler.devices.cuda.options import CudaMode
from profiler.numerals import WHOLE

if TYPE_CHECKING:
    from profiler.devices.base import Device, ModelDevice


def open_gpu(spec: str, settings: Settings, mode: CudaMode) -> Device:
    from profiler.devices.cuda.device import CudaDevice

    return CudaDevice(int(spec.partition(":")[2] or 0), mode=mode, **asdict(settings))


def discover_gpus() -> Sequence[DeviceStatus]:
    from profiler.devices.cuda.device import discover

    return discover()


def open_gpu_for_models(spec: str, settings: Settings, mode: CudaMode) -> ModelDevice:
    from profiler.devices.cuda.model_files import CudaModelDevice

    return CudaModelDevice(int(spec.partition(":")[2] or 0), mode=mode, **asdict(settings))


CUDA = Backend(
    name="cuda",
    forms=("cuda[:I]",),
    suffix=f"(:{WHOLE})?",
    open=open_gpu,
    options=CudaMode,
    recorded=lambda info: asdict(CudaMode.of(info)),
    discover=discover_gpus,
    queued=True,
    model_formats=(".onnx",),
    open_models=open_gpu_for_models,
)
