"""This computer's cores, under ONNX Runtime and under LiteRT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from profiler.devices.backend import Backend, DeviceStatus, Settings

if TYPE_CHECKING:
    from profiler.devices.base import Device, DeviceInfo


@dataclass(frozen=True, slots=True)
class HostOptions:
    """`wall_clock`: samples count what they wait for a core, too (profiler/measuring asks it)."""

    wall_clock: bool = False


def recorded(info: DeviceInfo) -> dict[str, Any]:
    return {"wall_clock": dict(info.options).get("clock") == "wall"}


def open_cpu(_: str, settings: Settings, options: HostOptions) -> Device:
    from profiler.devices.host.cpu import CpuDevice

    return CpuDevice(**asdict(settings), **asdict(options))


def discover_cpu() -> Sequence[DeviceStatus]:
    from profiler.devices.host.cpu import discover

    return discover()


def open_tflite(_: str, settings: Settings, options: HostOptions) -> Device:
    from profiler.devices.host.tflite import TFLiteDevice

    return TFLiteDevice(**asdict(settings), **asdict(options))


def discover_tflite() -> Sequence[DeviceStatus]:
    from profiler.devices.host.tflite import discover

    return discover()


CPU = Backend(
    name="cpu",
    forms=("cpu",),
    open=open_cpu,
    options=HostOptions,
    recorded=recorded,
    discover=discover_cpu,
    single_runs=True,
    model_formats=(".onnx",),
)
TFLITE = Backend(
    name="tflite",
    forms=("tflite",),
    open=open_tflite,
    options=HostOptions,
    recorded=recorded,
    discover=discover_tflite,
    single_runs=True,
    model_formats=(".tflite",),
)
