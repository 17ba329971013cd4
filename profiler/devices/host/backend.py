"""This computer's cores, under ONNX Runtime and under LiteRT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from profiler.devices.backend import Backend, DeviceStatus, NoOptions, Settings

if TYPE_CHECKING:
    from profiler.devices.base import Device


def open_cpu(_: str, settings: Settings, __: NoOptions) -> Device:
    from profiler.devices.host.cpu import CpuDevice

    return CpuDevice(**asdict(settings))


def discover_cpu() -> Sequence[DeviceStatus]:
    from profiler.devices.host.cpu import discover

    return discover()


def open_tflite(_: str, settings: Settings, __: NoOptions) -> Device:
    from profiler.devices.host.tflite import TFLiteDevice

    return TFLiteDevice(**asdict(settings))


def discover_tflite() -> Sequence[DeviceStatus]:
    from profiler.devices.host.tflite import discover

    return discover()


CPU = Backend(
    name="cpu", forms=("cpu",), open=open_cpu, discover=discover_cpu, model_formats=(".onnx",)
)
TFLITE = Backend(
    name="tflite",
    forms=("tflite",),
    open=open_tflite,
    discover=discover_tflite,
    model_formats=(".tflite",),
)
